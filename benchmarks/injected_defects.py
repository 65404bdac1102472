#!/usr/bin/env python3
"""Changes of a known size, put into measured scans: what share of them is found, and how much of what is found is false.

Usage: injected_defects.py PROGRAMS DATA_FOLDER [SEEDS [SCORE]]     (needs numpy, h5py)

Reads CuZn_EELS_mapping.hspy, Mn3O4_SI.npz, LSMO_linescan.hspy, LSMO_STO_linescan.hspy (lines become images of one row). What
each pixel is expected to be is taken from three principal components; the change of that is added to the measured spectrum, so
that noise stays where it is. Every change is scaled to a norm of 8 standard deviations of the spectrum's own noise, but for
cosmic rays and noise. A tenth of the pixels of a line and 20 of an image are changed, seeds 1 to SEEDS; SCORE is detection.score, whitened unless given.
Prints a row for each scan and kind: average precision with the mean spectrum and PCA, and at a rate of 5 % how many of the changed
are found, how many others are that are not found in the scan as it was measured, and how many detections call themselves trusted. "Known" is how many normal
spectra come before a changed one for who knows the change (rank_if_known).
"""
import json
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np

SIGMAS = 8.0


def read(path):
    """Counts (y, x, E) and energies (E), eV."""
    if path.endswith(".npz"):
        with np.load(path) as file:
            return file["X"].astype(float), file["ev"].astype(float)
    with h5py.File(path) as file:
        group = next(iter(file["Experiments"].values()))
        counts = group["data"][:].astype(float)
        axis = group[f"axis-{counts.ndim - 1}"].attrs
        energies = axis["offset"] + axis["scale"] * np.arange(counts.shape[-1])
    return counts.reshape((-1,) + counts.shape[-2:]) if counts.ndim == 3 else counts[None], energies


def expected(counts):
    """Three principal components of each spectrum (n, E), weighed by the square root of the mean."""
    flat = counts.reshape(-1, counts.shape[-1])
    weight = np.sqrt(np.maximum(flat.mean(axis=0), 1e-9))
    left, size, right = np.linalg.svd(flat / weight, full_matrices=False)
    return (left[:, :3] * size[:3]) @ right[:3] * weight


def noise_of(counts, normal):
    """Standard deviation of each value (n, E): what neighbours in a row differ by in each channel, and with the root of what is
    expected, for bright spectra have more noise than dim ones."""
    step = np.diff(counts, axis=1).reshape(-1, counts.shape[-1])
    robust = 1.4826 * np.median(np.abs(step - np.median(step, axis=0)), axis=0)
    robust = np.where(np.mean(counts == 0, axis=(0, 1)) > 0.05, step.std(axis=0), robust)  # a median of zeros tells nothing
    mean = np.maximum(counts.mean(axis=(0, 1)), 1e-30)
    return robust / np.sqrt(2) * np.sqrt(np.maximum(normal, 0.1 * mean) / mean)


def background(spectrum, energies, onset):
    """A power law through what lies before the edge."""
    before = (energies < onset - 5) & (energies > onset - 100) & (spectrum > 0)
    if before.sum() < 4:
        return np.full_like(spectrum, spectrum.min())
    slope, offset = np.polyfit(np.log(energies[before]), np.log(spectrum[before]), 1)
    return np.exp(offset + slope * np.log(energies))


def changes(energies, edge, second, random):
    """The kinds of docs/specimens.md on the scan's own edges: name, and what becomes of an expected spectrum."""
    step = energies[1] - energies[0]

    def lines(spectrum, at):
        over = np.maximum(spectrum - background(spectrum, energies, at), 0)
        return np.where(energies > at - 2 * step, over, 0)

    def shifted(at):
        def change(spectrum):
            peak = lines(spectrum, at)
            return np.interp(energies - random.choice([-1, 1]) * step, energies, peak) - peak
        return change

    def blurred(width):
        offsets = np.arange(-8, 9)
        kernel = np.exp(-0.5 * (offsets / width) ** 2)
        return lambda s: np.convolve(np.pad(lines(s, edge), 8, mode="edge"), kernel / kernel.sum(), mode="valid") - lines(s, edge)

    def ratio(spectrum):
        peak = lines(spectrum, edge)
        top = np.argmax(np.where(np.abs(energies - edge) < 30, peak, 0))
        near = np.exp(-0.5 * ((np.arange(peak.size) - top) / 3) ** 2)
        later = np.exp(-0.5 * ((np.arange(peak.size) - top - 8) / 3) ** 2)
        return peak * (near - later)

    return {
        "shift of the main edge": shifted(edge),
        "shift of the second edge": shifted(second),
        "ratio of the lines": ratio,
        "broadening": blurred(2),
        "intensity": lambda s: s * random.choice([-1, 1]),
        "background": lambda s: random.choice([-1, 1]) * s * np.log(energies / energies.mean()),
        "amount of the main edge": lambda s: -lines(s, edge),
        "amount of the second edge": lambda s: -lines(s, second),
        "plural scattering": lambda s: np.interp(energies - 20, energies, lines(s, edge), left=0),
        "foreign edge": lambda s: np.where(energies > (f := random.choice(energies[energies.size // 4:-energies.size // 4])),
                                           np.exp(-(energies - f) / 60), 0),
        "cosmic ray": None,
        "extra noise": None,
    }


def inject(counts, energies, edge, second, kind, seed):
    random = np.random.default_rng(seed)
    flat, normal = counts.reshape(-1, counts.shape[-1]).copy(), expected(counts)
    noise = noise_of(counts, normal)
    number = 20 if counts.shape[0] > 1 else max(2, len(flat) // 10)
    truth = np.zeros(len(flat), np.uint8)
    change = changes(energies, edge, second, random)[kind]
    above = []
    for pixel in random.choice(len(flat), number, replace=False):
        if kind == "cosmic ray":
            flat[pixel, random.integers(flat.shape[1])] += 30 * noise[pixel].mean()
        elif kind == "extra noise":
            flat[pixel] += random.normal(size=flat.shape[1]) * noise[pixel]
        else:
            difference = change(normal[pixel])
            size = np.sqrt(((difference / noise[pixel]) ** 2).sum())
            if size > 0:
                flat[pixel] += difference * SIGMAS / size
            above.append((pixel, difference * SIGMAS / max(size, 1e-30)))
        truth[pixel] = 1
    flat = np.maximum(flat, 0)
    return flat.reshape(counts.shape), truth.reshape(counts.shape[:2]), rank_if_known(flat, truth, noise, above)


def rank_if_known(flat, truth, noise, changed):
    """Who knows the change of a spectrum and what varies among the normal ones (three components): how many of the normal spectra
    look more like it. The median over the changed; nan for changes without a shape. No method can be expected to do better."""
    if not changed:
        return np.nan
    weight = noise.mean(axis=0)
    scaled = (flat - flat[truth == 0].mean(axis=0)) / weight
    varies = np.linalg.svd(scaled[truth == 0], full_matrices=False)[2][:3]
    own = noise / weight
    left = (scaled - scaled @ varies.T @ varies) / own
    ranks = []
    for pixel, difference in changed:
        shape = difference / weight
        shape = (shape - shape @ varies.T @ varies) / own[pixel]
        scores = left @ (shape / max(np.linalg.norm(shape), 1e-30))
        ranks.append((scores[truth == 0] > scores[pixel]).sum())
    return np.median(ranks)


def average_precision(scores, truth):
    scored = ~np.isnan(scores)
    hits = truth[scored].astype(bool)[np.argsort(-scores[scored])]
    return (np.cumsum(hits) / np.arange(1, hits.size + 1))[hits].mean()


def baselines(counts):
    return "mean", "pca:auto" if counts.shape[0] * counts.shape[1] >= 100 else "pca:2"


def detect(programs, image, energies, baseline, score):
    """Scores and mask (y, x), and whether the threshold is trusted."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(folder + "/scan.npy", image.astype(np.float32))
        settings = [f"data.energy_offset={energies[0]}", f"data.dispersion={energies[1] - energies[0]}", "preprocess.sigma=0",
                    "preprocess.xy_window=1", "preprocess.percentiles=0.01,99.99", f"detection.score={score}"]
        if image.shape[0] * image.shape[1] < 100:  # too few for a rate
            settings.append("detection.threshold=1e9")
        command = [programs + "/eelsvae-detect", "--baseline", baseline, "--data", folder + "/scan.npy", "--output", folder + "/found"]
        for setting in settings:
            command += ["--set", setting]
        subprocess.run(command, capture_output=True, check=True)
        with open(folder + "/found/summary.json", encoding="utf8") as file:
            trusted = json.load(file)["trusted"]
        return np.load(folder + "/found/scores.npy"), np.load(folder + "/found/mask.npy").astype(bool), trusted


def main():
    programs, data = sys.argv[1:3]
    seeds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    score = sys.argv[4] if len(sys.argv) > 4 else "whitened"
    scans = {"CuZn_EELS_mapping.hspy": (931, 1020), "Mn3O4_SI.npz": (49, 84), "LSMO_linescan.hspy": (640, 532),
             "LSMO_STO_linescan.hspy": (640, 532)}
    print("| scan | change | known | AP, mean spectrum | AP, PCA | changed | found (mean, PCA) | false (mean, PCA) | trusted (mean, PCA) |\n"
          "|---|---|---|---|---|---|---|---|---|")
    for name, (edge, second) in scans.items():
        counts, energies = read(os.path.join(data, name))
        by_rate = counts.shape[0] * counts.shape[1] >= 100
        before = [detect(programs, counts, energies, baseline, score)[1] for baseline in baselines(counts)]
        for kind in changes(energies, edge, second, np.random.default_rng(0)):
            precision, found, false, trusted, known = [], [0, 0], [0, 0], [0, 0], []
            for seed in range(1, seeds + 1):
                image, truth, rank = inject(counts, energies, edge, second, kind, seed)
                known.append(rank)
                row = []
                for i, baseline in enumerate(baselines(counts)):
                    scores, mask, trust = detect(programs, image, energies, baseline, score)
                    row.append(average_precision(scores, truth))
                    found[i] += (mask & (truth == 1)).sum()
                    false[i] += (mask & (truth == 0) & ~before[i]).sum()
                    trusted[i] += trust
                precision.append(row)
            mean = np.mean(precision, axis=0)
            rest = [f"{v[0]}, {v[1]}" if by_rate else "-" for v in (found, false, trusted)]
            before_it = "-" if np.isnan(known).any() else f"{np.mean(known):.0f}"
            print(f"| {name.split('.')[0]} | {kind} | {before_it} | {mean[0]:.3f} | {mean[1]:.3f} | {truth.sum() * seeds} | " + " | ".join(rest) + " |",
                  flush=True)
        if by_rate:
            print(f"| {name.split('.')[0]} | as measured | - | - | - | 0 | {before[0].sum()}, {before[1].sum()} | - | - |", flush=True)


if __name__ == "__main__":
    main()
