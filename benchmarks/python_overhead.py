#!/usr/bin/env python3
"""Measures a detection in a (210, 210, 1340) float32 array from Python beside eelsvae-detect on the same .npy, in turn.

    python_overhead.py PROGRAMS PYTHON [--rounds 5] [--shape 210 210 1340] [--sources mean model] [--folder DIR]

PROGRAMS is the folder of a build's programs, PYTHON one that has the package of the same build (python/tests/run.sh makes
such an environment; build/writers/hyperspy/bin/python with PYTHONPATH does, too). By the mean spectrum and by a small model
that is trained first. Each detection is a process of its own, after one that does not count:

  program   eelsvae-detect, whole; "work" are its stages from reading to scoring, which Python has, too
  path      eelsvae.detect("film.npy")
  array     numpy.load(), then eelsvae.detect() of the array, which is the "work"; the caller's own CPU time in that call is
            the overhead: the engine works on another thread
  lean      as array, with keep_spectra=False: maps alone

Printed are medians, with the least and the largest, and the largest peak of resident memory (wait4). The scores of all must have
the same bits.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

AXIS = {"energy_offset": 420.0, "dispersion": 0.3}
TINY = {"tiles": {"image_size": 24, "sliding_window_stride": 12},
        "model": {"channels": [8, 16, 32, 64], "hidden": 128, "latent_dim": 16},
        "training": {"epochs": 1, "batch_size": 4, "validation_fraction": 0.2},
        "preprocess": {"sigma": 0, "xy_window": 1, "crop_y": [0, 96], "crop_x": [0, 96]}, "device": "cpu", "precision": "fp32"}
WAYS = ["path", "array", "lean"]
OTHER_STAGES = {"starting", "digests", "report"}  # of the program alone

CALL = """
import json, sys, time
import numpy as np
import eelsvae
way, file, model, axis, to = sys.argv[1:]
axis = json.loads(axis)
given, said = file, {"data": axis}
if way != "path":
    given, said = eelsvae.Image(np.load(file), **axis), {}
source = {"model": model} if model else {"baseline": "mean"}
began, own = time.perf_counter(), time.thread_time()
found = eelsvae.detect(given, **source, **said, keep_spectra=way != "lean")
took, own = time.perf_counter() - began, time.thread_time() - own
np.save(to, found.scores)
print(json.dumps([took, own]))
"""


def processor():
    return re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())[1]


def run(command):
    """What it prints, its time and its peak of resident memory, MB."""
    began = time.perf_counter()
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    text = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {text}")
    return text, time.perf_counter() - began, used.ru_maxrss / 1000


def stages(text):
    """Seconds by the program's line "Time 12.3 s: starting 0.1, reading 0.4, ..."."""
    line = re.findall(r"Time [0-9.]+ s: (.*)$", text, re.M)[-1]
    return {name: float(seconds) for name, seconds in re.findall(r"(\w+) ([0-9.]+)", line)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("python", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", type=int, nargs=3, default=[210, 210, 1340])
    parser.add_argument("--sources", nargs="+", choices=["mean", "model"], default=["mean", "model"])
    parser.add_argument("--folder", help="for files; a temporary one unless given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measure(options, pathlib.Path(options.folder or scratch))


def measure(options, work):
    film, config, model = work / "film.npy", work / "tiny.json", work / "run"

    def program(name):
        return options.programs.resolve() / f"eelsvae-{name}"

    def spread(values):
        return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"

    settings = [word for key, value in AXIS.items() for word in ("--set", f"data.{key}={value}")]
    if not film.exists():
        run([program("simulate"), "--shape", *options.shape, "--offset-ev", AXIS["energy_offset"], "--output",
             work / "film.hspy"])
        run([program("convert"), work / "film.hspy", film])
    config.write_text(json.dumps(TINY))
    if not model.exists():
        # Under another name: of its own image a detection would take the part that it was trained on.
        training = work / "training.npy"
        training.hardlink_to(film)
        run([program("train"), config, "--data", training, *settings, "--output", model])
    print(f"{options.shape} float32, {film.stat().st_size / 1e6:.0f} MB; {processor()}, "
          f"{os.cpu_count()} threads, {time.strftime('%Y-%m-%d')}")
    print("\n| source | way | process, s | work, s | caller's own, ms | of the work | peak, MB |\n|---|---|---|---|---|---|---|")
    for source in options.sources:
        ways = {"program": []} | {way: [] for way in WAYS}
        for turn in range(-1, options.rounds):
            for way in ways if turn % 2 else reversed(list(ways)):
                if way == "program":
                    chosen = ["--model", model] if source == "model" else ["--baseline", "mean"]
                    text, took, peak = run([program("detect"), *chosen, "--data", film, *settings, "--output", work / source])
                    of = stages(text)
                    entry = [took, sum(seconds for stage, seconds in of.items() if stage not in OTHER_STAGES), None, peak]
                else:
                    text, took, peak = run([options.python, "-c", CALL, way, film, model if source == "model" else "",
                                            json.dumps(AXIS), work / f"{source}-{way}.npy"])
                    entry = [took, *json.loads(text.splitlines()[-1]), peak]
                if turn >= 0:
                    ways[way].append(entry)
        scores = -4 * options.shape[0] * options.shape[1]  # bytes, the last of a .npy
        expected = (work / source / "scores.npy").read_bytes()[scores:]
        for way, entries in ways.items():
            if way != "program" and (work / f"{source}-{way}.npy").read_bytes()[scores:] != expected:
                sys.exit(f"{source}, {way}: the scores are not those of eelsvae-detect")
            took, work_s, own, peak = zip(*entries)
            call = ["", ""] if own[0] is None else [f"{1e3 * statistics.median(own):.1f}",
                                                    f"{100 * statistics.median(o / w for o, w in zip(own, work_s)):.2f} %"]
            print("|", " | ".join([source, way, spread(took), spread(work_s), *call, f"{max(peak):.0f}"]), "|", flush=True)


if __name__ == "__main__":
    main()
