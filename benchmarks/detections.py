"""What benchmarks that detect in scans with a known truth share: programs run, detections counted, rows of a table."""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

COLUMNS = "AP | lowest | F1 | false among found | trusted"


def run(programs, name, *arguments):
    """Runs eelsvae-NAME of the folder of programs; a failure ends the benchmark with the program's own words. Returns its seconds of
    CPU time."""
    command = [os.path.join(programs, f"eelsvae-{name}"), *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            sys.exit(f"eelsvae-{name} {' '.join(command[1:])}: {errors.read().strip()}")
    return usage.ru_utime + usage.ru_stime


def detect(programs, scan, truth, score, folder, *arguments):
    """Detects with that score into the folder. Returns its summary, and in it how many of the found are `right` and `wrong`;
    pixels that the truth (.npy) marks as -1 count neither way."""
    run(programs, "detect", scan, *arguments, "--truth", truth, "--output", folder, "--set", f"detection.score={score}")
    with open(os.path.join(folder, "summary.json"), encoding="utf8") as file:
        summary = json.load(file)
    above = np.load(os.path.join(folder, "scores.npy")) > summary["threshold"]
    known = np.load(truth)
    summary.update(right=int((above & (known > 0)).sum()), wrong=int((above & (known == 0)).sum()))
    return summary


def row(summaries):
    """The columns of several detections: mean and lowest average precision, mean F1, the pooled share of false ones among the
    found, how many thresholds are trusted."""
    precision = [s["average_precision"] for s in summaries]
    true, false = (sum(s[key] for s in summaries) for key in ("right", "wrong"))
    share = f"{100 * false / (true + false):.1f} % of {true + false}" if true + false else "nothing found"
    return (f"{sum(precision) / len(precision):.3f} | {min(precision):.3f} | {sum(s['f1'] for s in summaries) / len(summaries):.3f} | "
            f"{share} | {sum(bool(s['trusted']) for s in summaries)} of {len(summaries)}")
