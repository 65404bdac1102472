#!/usr/bin/env python3
"""Compares two builds by the same command, run by the one and the other in turn.

    pairs.py OLD NEW [--pairs 20] [--warm-up 1] [--value KEY] [--label TEXT] -- PROGRAM ARGUMENTS...

OLD and NEW are folders of programs, such as build/release of two checkouts. In every pair the one that begins changes.
Each pair gives a ratio, new over old: of the program's time as a whole or, with --value, of a number in what it writes:
`{json}` among the arguments becomes a file that is read for that key, as eelsvae-bench writes it. Printed are both
medians, the median ratio, and the bound under which the true median ratio lies with 95 % confidence (an order
statistic of the ratios: no assumption about how they are distributed). `{folder}` becomes a folder for output.

    pairs.py ../before/build/release build/release --value training_step_seconds -- \\
      eelsvae-bench --device cpu --precision fp32 --batch 1 --training --seconds 0.1 --json {json}
    pairs.py ../before/build/release build/release -- \\
      eelsvae-detect --baseline mean --data scan.hspy --output {folder}
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time


def upper_bound(ratios):
    """The smallest order statistic that is at least the median with 95 % confidence (sign test); None if too few."""
    n = len(ratios)
    below = 0.0
    for k in range(n):
        below += math.comb(n, k) / 2**n  # probability that at most k of n ratios lie below the median
        if below >= 0.95:
            return sorted(ratios)[k]
    return None


def run(folder, command, value):
    with tempfile.TemporaryDirectory() as scratch:
        file = pathlib.Path(scratch, "result.json")
        words = [word.replace("{json}", str(file)).replace("{folder}", str(pathlib.Path(scratch, "out"))) for word in command]
        words[0] = str(pathlib.Path(folder, words[0]).resolve())
        began = time.monotonic()
        result = subprocess.run(words, capture_output=True, text=True, env=dict(os.environ, OMP_WAIT_POLICY="passive"))
        seconds = time.monotonic() - began
        if result.returncode != 0:
            sys.exit(f"{' '.join(words)}: status {result.returncode}: {result.stderr.strip()}")
        return json.loads(file.read_text())[value] if value else seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("old", help="folder of the programs to compare with")
    parser.add_argument("new", help="folder of the programs that are measured")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=1, help="pairs that do not count")
    parser.add_argument("--value", help="key of a number in the JSON that the program writes to {json}")
    parser.add_argument("--label", default="", help="what is compared, for the line that is printed")
    parser.add_argument("command", nargs="+", help="program and arguments, after --")
    options = parser.parse_args()
    if options.pairs < 1:
        parser.error("--pairs: at least one")
    times = {options.old: [], options.new: []}
    for pair in range(-options.warm_up, options.pairs):
        for folder in (options.old, options.new) if pair % 2 else (options.new, options.old):
            seconds = run(folder, options.command, options.value)
            if pair >= 0:
                times[folder].append(seconds)
    old, new = times[options.old], times[options.new]
    ratios = [n / o for n, o in zip(new, old)]
    bound = upper_bound(ratios)
    print(f"{options.label or ' '.join(options.command)}: {1e3 * statistics.median(old):.1f} -> "
          f"{1e3 * statistics.median(new):.1f} ms, ratio {statistics.median(ratios):.3f}"
          + (f", at most {bound:.3f} (95 %)" if bound else ", too few pairs for a bound")
          + f", {len(ratios)} pairs", flush=True)


main()
