#!/usr/bin/env python3
"""Other people's models on the same footing as ours: one table of what they find in the same scans by the same score.

    compare_methods.py PROGRAMS DATA OUT [--seeds 1 2 3] [--jobs 2] [--specimens NAME ...] [--baselines] [--tune]
                                                                                       (needs numpy, torch)

PROGRAMS is the folder of eelsvae-simulate, -train and -detect; DATA a folder of recorded scenes, .npz with data (y, x, band) and
truth (y, x), left out with a word where it is not there. Every model is trained on the very scan that is scored, defects and all,
without labels: ours, with a latent vector for each tile and for each cell, and those of other_models.py, whose reconstruction `eelsvae-detect --expectation` scores like any. The mean
spectrum, that of the spectra around each, PCA and RX are fitted to the same scan. Specimens:

    interface, gradient   64 x 64 pixels, 256 channels; eleven kinds of defects in 1 % of the pixels
    lattice               80 x 80 pixels, 256 channels; five antisites and five vacancies
    the scenes            as they are

The score is chosen in advance and the same for every method: `whitened`, on the lattice `joint`; beside it the average precision
by the energy of the residual (`deviance`). How ours is trained stood in configs/ before: evaluate-heterogeneous.json for spectra,
lattice.json for atoms, with another number of epochs. The other models have one setting for all, chosen by --tune (a scan of each
simulated specimen, seeds 101 and 102, fewer steps). Numbers of steps are fixed, so that other work on the machine changes nothing
but times, and about as many as take the same CPU time; every process has one thread, and JOBS of them run at once.

OUT/cells.jsonl has a line for each scan and method; what is there is not done again. OUT/table.md is the result.
"""
import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

from detections import COLUMNS, detect, row, run

HERE = os.path.dirname(os.path.abspath(__file__))
FILM = ["--shape", "64", "64", "256", "--offset-ev", "500", "--dispersion-ev", "0.95", "--exposure", "4", "--anomalies", "0.01"]
for defect in ("fe-shift:1.2", "o-shift:1", "white-lines:0.8", "broadening:0.6", "intensity:0.3", "background:0.3", "oxygen:0.3",
               "scattering:0.5", "cosmic:3000", "foreign:0.2", "extra-noise:0.5"):
    FILM += ["--defect", defect]
ATOMS = ["--shape", "80", "80", "256", "--offset-ev", "660", "--exposure", "2", "--defect", "antisite:0.8@5",
         "--defect", "vacancy:0.8@5"]
SIMULATED = {  # what eelsvae-simulate is told, and the energy axis, which .npy does not have
    "interface": (["--preset", "interface", *FILM], (500, 0.95)),
    "gradient": (["--preset", "gradient", *FILM], (500, 0.95)),
    "lattice": (["--preset", "lattice", *ATOMS], (660, 0.3)),
}
BASELINES = {"mean spectrum": "mean", "mean of the spectra around each": "local", "PCA, components chosen": "pca:auto", "RX, components chosen": "rx:auto"}
OTHERS = {"autoencoder of spectra": ["autoencoder"], "blind-spot denoiser": ["blindspot"], "diffusion model": ["diffusion"]}
OURS = {"3D-CVAE (eelsvae)": [], "3D-CVAE of cells": ["--set", "model.latent=cell"]}
CANDIDATES = {" ".join(words): words for words in (
    ["autoencoder", "latent=4"], ["autoencoder", "latent=16"], ["blindspot", "block=1"], ["blindspot", "block=5"],
    ["diffusion", "back=0.4"], ["diffusion", "back=0.7"])}
LATTICE_STEPS = (820, 1600)  # of ours, each of 4 tiles of 16 x 16 pixels, and of the others
STEPS = (360, 700)  # of all other specimens
TUNING_STEPS = 300
TUNING = [("interface", 101), ("gradient", 102), ("lattice", 101)]


def score_of(specimen):
    return "joint" if specimen == "lattice" else "whitened"


class Comparison:
    def __init__(self, options):
        self.programs, self.out, self.tune = os.path.abspath(options.programs), options.out, options.tune
        self.file = os.path.join(options.out, "cells.jsonl")
        os.makedirs(options.out, exist_ok=True)
        self.films = os.path.join(options.out, "films.json")
        with open(os.path.join(HERE, "..", "configs", "evaluate-heterogeneous.json"), encoding="utf8") as file:
            config = json.load(file)
        del config["evaluation"]
        with open(self.films, "w", encoding="utf8") as file:
            json.dump(config, file)

    def cells(self):
        """What is done, by specimen, seed and method."""
        if not os.path.exists(self.file):
            return {}
        with open(self.file, encoding="utf8") as file:
            return {(cell["specimen"], cell["seed"], cell["method"]): cell for cell in map(json.loads, file)}

    def prepare(self, specimen, seed, scene):
        """Scan, truth and arguments of reading for a specimen; made once."""
        stem = os.path.join(self.out, f"{specimen}-{seed}")
        scan, truth = scene or stem + ".npy", stem + "-truth.npy"
        options, (offset, dispersion) = SIMULATED.get(specimen, (None, (400, 1)))
        if scene and not os.path.exists(truth):
            np.save(truth, np.load(scene)["truth"].astype(np.int8))
        elif not os.path.exists(truth):
            run(self.programs, "simulate", *options, "--seed", seed, "--output", scan, "--truth", truth)
        return scan, truth, ["--set", f"data.energy_offset={offset}", "--set", f"data.dispersion={dispersion}"]

    def expectation(self, specimen, seed, method, scan, axis, folder):
        """What eelsvae-detect is told to expect; seconds of CPU time of training."""
        config = os.path.join(HERE, "..", "configs", "lattice.json") if specimen == "lattice" else self.films
        ours, others = LATTICE_STEPS if specimen == "lattice" else STEPS
        if method in BASELINES:
            return ["--baseline", BASELINES[method], "--config", config, *axis], 0.0
        if method in OURS:
            model = os.path.join(folder, "model")
            train = ["train", "--config", config, "--data", scan, *axis, "--set", f"training.seed={seed}", *OURS[method],
                     "--output"]
            run(self.programs, *train, os.path.join(folder, "trial"), "--set", "training.epochs=1")
            with open(os.path.join(folder, "trial", "metrics.jsonl"), encoding="utf8") as file:
                epochs = max(1, round(ours / json.loads(file.readline())["steps"]))
            return ["--model", model], run(self.programs, *train, model, "--set", f"training.epochs={epochs}")
        model, *settings = (CANDIDATES if self.tune else OTHERS)[method]
        cube = os.path.join(folder, "expectation.npy")
        command = [sys.executable, os.path.join(HERE, "other_models.py"), model, scan, cube, "--seed", str(seed), "--steps",
                   str(TUNING_STEPS if self.tune else others), "--set", *settings]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            sys.exit(f"{' '.join(command)}: {result.stderr.strip()}")
        seconds = json.loads(result.stdout.splitlines()[-1])["training_cpu_seconds"]
        return ["--expectation", cube, "--config", config, *axis], seconds

    def cell(self, specimen, seed, method, scene):
        if (specimen, seed, method) in self.cells():
            return
        scan, truth, axis = self.prepare(specimen, seed, scene)
        with tempfile.TemporaryDirectory() as folder:
            expected, seconds = self.expectation(specimen, seed, method, scan, axis, folder)
            line = {"specimen": specimen, "seed": seed, "method": method, "training_cpu_seconds": seconds}
            scores = {"main": score_of(specimen), "deviance": "deviance"}
            if method.startswith("RX"):
                del scores["deviance"]  # it has a score of its own, whatever is asked for
            for name, score in scores.items():
                summary = detect(self.programs, scan, truth, score, os.path.join(folder, "found"), *expected)
                line[name] = {key: summary[key] for key in ("average_precision", "f1", "right", "wrong", "trusted")}
        with open(self.file, "a", encoding="utf8") as file:
            file.write(json.dumps(line) + "\n")
        print(line, file=sys.stderr, flush=True)

    def make(self, wanted, jobs):
        for specimen, seed, _, scene in wanted:
            self.prepare(specimen, seed, scene)
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            running = [pool.submit(self.cell, *cell) for cell in wanted]
            for future in concurrent.futures.as_completed(running):
                try:
                    future.result()
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise

    def tables(self, wanted):
        done = self.cells()
        specimens, methods = (list(dict.fromkeys(cell[i] for cell in wanted)) for i in (0, 2))

        def of(specimen, method):
            return [done[cell[:3]] for cell in wanted if (cell[0], cell[2]) == (specimen, method)]

        def mean(values):
            values = list(values)
            return sum(values) / len(values)

        lines = ["| average precision | " + " | ".join(specimens) + " |", "|---" * (len(specimens) + 1) + "|"]
        for method in methods:
            lines.append(f"| {method} | " + " | ".join(
                f"{mean(cell['main']['average_precision'] for cell in of(specimen, method)):.3f}" for specimen in specimens) + " |")
        for specimen in specimens:
            seeds = [str(cell[1]) for cell in wanted if cell[0] == specimen and cell[2] == methods[0]]
            lines += ["", f"## {specimen}: {score_of(specimen)}, seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}", "",
                      f"| expectation | {COLUMNS} | AP by deviance | CPU s of training |", "|---" * 8 + "|"]
            for method in methods:
                cells = of(specimen, method)
                energy = [cell["deviance"]["average_precision"] for cell in cells if "deviance" in cell]
                by_energy = f"{mean(energy):.3f}" if energy else "own score"
                lines.append(f"| {method} | {row([cell['main'] for cell in cells])} | {by_energy} | "
                             f"{mean(cell['training_cpu_seconds'] for cell in cells):.0f} |")
        return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("programs")
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--tune", action="store_true", help="compare settings of the other models on other seeds instead")
    parser.add_argument("--specimens", nargs="+", help="only these")
    parser.add_argument("--baselines", action="store_true", help="only mean, local, PCA and RX, which nothing is trained for")
    options = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
    methods = list(CANDIDATES) if options.tune else [*BASELINES] if options.baselines else [*BASELINES, *OURS, *OTHERS]
    scans = TUNING if options.tune else [(specimen, seed) for seed in options.seeds for specimen in SIMULATED]
    wanted = [(*scan, method, None) for scan in scans for method in methods]
    if not options.tune:
        if os.path.isdir(options.data):
            scenes = sorted(name for name in os.listdir(options.data) if name.endswith(".npz"))
            wanted += [(name[:-4], 1, method, os.path.join(options.data, name)) for name in scenes for method in methods]
        else:
            print(f"{options.data}: no such folder, so recorded scenes are left out", file=sys.stderr)
    wanted = [cell for cell in wanted if not options.specimens or cell[0] in options.specimens]
    comparison = Comparison(options)
    comparison.make(wanted, options.jobs)
    table = comparison.tables(wanted)
    with open(os.path.join(options.out, "table.md"), "w", encoding="utf8") as file:
        file.write(table)
    print(table)


if __name__ == "__main__":
    main()
