#!/usr/bin/env python3
"""Which law the learned scores of normal spectra follow far out, on simulated films without defects.

    learned_null.py PROGRAMS     (needs numpy; the folder of eelsvae-simulate and eelsvae-detect; about a minute)

Two films of 64 x 64 pixels of each specimen (seeds 201 and 202), each with the mean spectrum and with PCA as the expectation. The law of
maxima of exponential tails is laid through the quantiles from 50 to 95 % of the scores, and of their squares, and the point taken that by it one in
2000 passes. Prints how many times as many do: 1 is right, more finds too much.
"""
import os
import subprocess
import sys
import tempfile

import numpy as np

QUANTILES = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
FAR = 5e-4
LAWS = {"scores": 1, "squares": 2.05}  # the power; 2.05 as EmpiricalNull::exponent


def passed(scores, power):
    x = scores**power
    scale, location = np.polyfit(-np.log(-np.log(QUANTILES)), np.quantile(x, QUANTILES), 1)
    return np.mean(x > location - scale * np.log(-np.log1p(-FAR))) / FAR


def main():
    programs = os.path.abspath(sys.argv[1])

    def run(name, *arguments):
        subprocess.run([os.path.join(programs, f"eelsvae-{name}"), *arguments], capture_output=True, check=True)

    print("| specimen, expectation | " + " | ".join(LAWS) + " |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        scan, found = os.path.join(folder, "film.hspy"), os.path.join(folder, "found")
        for preset in ("bfo", "interface", "hetero", "polycrystal"):
            for baseline in ("mean", "pca:auto"):
                times = []
                for seed in ("201", "202"):
                    run("simulate", "--preset", preset, "--seed", seed, "--shape", "64", "64", "256", "--offset-ev", "500",
                        "--dispersion-ev", "0.95", "--exposure", "4", "--defect", "none", "--output", scan)
                    settings = ["preprocess.sigma=0", "preprocess.xy_window=1", "preprocess.percentiles=0.01,99.99",
                                "detection.score=learned"]
                    run("detect", scan, "--baseline", baseline, "--output", found, *[x for s in settings for x in ("--set", s)])
                    scores = np.load(os.path.join(found, "scores.npy"))
                    times.append([passed(scores[~np.isnan(scores)], power) for power in LAWS.values()])
                print(f"| {preset}, {baseline} | " + " | ".join(f"{value:.1f}" for value in np.mean(times, axis=0)) + " |", flush=True)


if __name__ == "__main__":
    main()
