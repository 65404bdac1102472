#!/usr/bin/env python3
"""Atoms in the wrong place on simulated lattices: what finds them.

Usage: atoms.py PROGRAMS SEED [SEED ...]     (needs numpy; PROGRAMS: the folder of eelsvae-simulate, -train and -detect)

For each seed a lattice along [001] of 96 x 96 pixels and 256 channels with five antisites and five vacancies of 80 % occupancy is
simulated. The mean spectrum, PCA and RX are fitted to it; a model is trained on it by configs/lattice.json, antisites and
vacancies and all. Prints, for each expectation
and score, over the seeds: mean and lowest average precision, mean F1 at a false-discovery rate of 5 %, the pooled share of false
ones among the found, and how many detections call themselves trusted. Pixels around a defect in which it hardly shows
count neither way (docs/specimens.md). A table in Markdown; every detection is printed to standard error as it is done.
"""
import os
import sys
import tempfile

from detections import COLUMNS, detect, row, run

CONFIG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "configs", "lattice.json")
SPECIMEN = ["--preset", "lattice", "--exposure", "2", "--shape", "96", "96", "256", "--offset-ev", "660",
            "--defect", "antisite:0.8@5", "--defect", "vacancy:0.8@5"]
EXPECTATIONS = [  # heading, what is expected, score
    ("mean spectrum", ["--baseline", "mean"], "whitened"),
    ("PCA, components chosen", ["--baseline", "pca:auto"], "whitened"),
    ("PCA of 3", ["--baseline", "pca:3"], "whitened"),
    ("PCA of 3", ["--baseline", "pca:3"], "deviance"),
    ("RX of 3", ["--baseline", "rx:3"], "own"),
    ("model", None, "whitened"),
    ("model", None, "deviance"),
    ("model", None, "joint"),
]


def main():
    programs, seeds = os.path.abspath(sys.argv[1]), [int(seed) for seed in sys.argv[2:]]

    rows = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            scan, truth = os.path.join(folder, "atoms.hspy"), os.path.join(folder, "truth.npy")
            run(programs, "simulate", *SPECIMEN, "--seed", str(seed), "--output", scan, "--truth", truth)
            model = os.path.join(folder, "model")
            run(programs, "train", "--config", CONFIG, "--data", scan, "--output", model)
            for heading, source, score in EXPECTATIONS:
                found = os.path.join(folder, "found")
                expected = [*source, "--config", CONFIG] if source else ["--model", model]
                summary = detect(programs, scan, truth, "whitened" if score == "own" else score, found, *expected)
                rows.setdefault((heading, score), []).append(summary)
                print(seed, heading, score, f"AP {summary['average_precision']:.3f} F1 {summary['f1']:.3f}",
                      f"found {summary['anomalous_pixels']} precision {summary['precision']:.3f} trusted {summary['trusted']}", file=sys.stderr, flush=True)

    print(f"Seeds {', '.join(map(str, seeds))}: `atoms.py PROGRAMS {' '.join(map(str, seeds))}`\n")
    print(f"| expectation | score | {COLUMNS} |\n|---|---|---|---|---|---|---|")
    for (heading, score), summaries in rows.items():
        print(f"| {heading} | {score} | {row(summaries)} |")


if __name__ == "__main__":
    main()
