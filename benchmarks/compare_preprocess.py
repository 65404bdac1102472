#!/usr/bin/env python3
"""Times preprocessing against SciPy and scikit-image, in turn, on one (210, 210, 1340) float32 cube.

Usage: compare_preprocess.py BENCHMARK_PREPROCESS [--rounds N] [--steps chain,bin,...] [--folder DIR]

BENCHMARK_PREPROCESS is the program built from preprocess.cpp. Needs NumPy, SciPy and scikit-image. The cube is
a film with O K and Fe L2,3 edges, a known energy drift in each pixel, noise and known spikes. Results are
compared before times are: where both compute the same, with each other; where they estimate, with what the
cube was made of. What takes Python long is done for a part of the lines (y) only and its time multiplied.
"""
import argparse
import datetime
import os
import platform
import subprocess
import tempfile
import time

import numpy as np
import scipy
import skimage
from scipy import ndimage
from skimage.measure import block_reduce
from skimage.registration import phase_cross_correlation

HEIGHT, WIDTH, CHANNELS = 210, 210, 1340
OFFSET, DISPERSION = 420.0, 0.3  # eV
WINDOW = slice(350, 467)  # 525 to 560 eV: O K
SIGMAS = 8
PART = 10  # of the lines, where Python goes through pixels one by one or filters by medians


def film(ev):
    peak = lambda at, counts, width: counts * np.exp(-4 * np.log(2) * ((ev - at) / width) ** 2)
    edge = lambda at, counts: counts * 0.5 * (1 + np.tanh(ev - at)) * (ev / at) ** -3.0
    return (75 * (ev / 430) ** -2.7 + edge(534, 12) + peak(538, 10, 3.5) + peak(546.5, 8, 8) + edge(715, 4)
            + peak(717.5, 26, 3.4) + edge(728, 2) + peak(730, 10, 4))


def make_cube(rng):
    """The cube, its drift (y, x; eV) and the mask of its spikes."""
    ev = OFFSET + DISPERSION * np.arange(CHANNELS)
    drift = rng.uniform(-0.6, 0.6, (HEIGHT, WIDTH))
    cube = np.empty((HEIGHT, WIDTH, CHANNELS), np.float32)
    fine = np.arange(ev[0] - 1, ev[-1] + 1, 0.01)
    spectrum = 100 * film(fine)
    for y in range(HEIGHT):
        expected = np.interp(ev[None, :] - drift[y][:, None], fine, spectrum)
        noise = rng.standard_normal(expected.shape, np.float32) * np.sqrt(2.7 * expected + 81)
        cube[y] = expected + noise
    spikes = np.zeros(cube.shape, bool)
    where = rng.choice(cube.size, 500, replace=False)
    spikes.flat[where] = True
    cube.flat[where] += rng.uniform(3000, 30000, 500).astype(np.float32)
    return cube, drift, spikes


# ---- the same with SciPy and scikit-image ----

def scipy_chain(cube):
    cube = cube[:, :, 11:1323]
    cube = ndimage.gaussian_filter(cube, 0.5)
    low, high = np.percentile(cube, [1, 99])
    cube = np.clip((cube - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return ndimage.uniform_filter(cube, (3, 3, 1))


def skimage_bin(cube):
    return block_reduce(cube, (2, 2, 4), np.sum)


def numpy_bin(cube):
    y, x, e = cube.shape
    return cube.reshape(y // 2, 2, x // 2, 2, e // 4, 4).sum((1, 3, 5))


def scipy_despike(cube):
    """Excess over a median along energy, compared with its median over neighbouring pixels."""
    excess = cube - ndimage.median_filter(cube, (1, 1, 9))
    excess -= ndimage.median_filter(excess, (3, 3, 1))
    deviation = 1.4826 * np.median(np.abs(excess))
    found = excess > SIGMAS * deviation
    return np.where(found, cube - excess, cube), found


def skimage_measure(cube):
    """Shift of each spectrum in the window against the mean spectrum, eV."""
    spectra = cube[:, :, WINDOW].reshape(-1, WINDOW.stop - WINDOW.start)
    taper = np.hanning(spectra.shape[1]).astype(np.float32)
    spectra = (spectra - spectra.mean(1, keepdims=True)) * taper
    mean = spectra.mean(0)
    shifts = [phase_cross_correlation(mean, s, upsample_factor=100, normalization=None)[0][0] for s in spectra]
    return DISPERSION * np.array(shifts).reshape(cube.shape[:2])


def scipy_move(cube, shifts_ev):
    out = np.empty_like(cube)
    for pixel in np.ndindex(cube.shape[:2]):
        out[pixel] = ndimage.shift(cube[pixel], shifts_ev[pixel] / DISPERSION, order=3, mode="nearest")
    return out


class Ours:
    def __init__(self, program, folder):
        self.folder = folder
        # Threads that spin while they wait would count as processor time.
        self.process = subprocess.Popen([program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "OMP_WAIT_POLICY": "passive"})

    def run(self, step):
        print(step, file=self.process.stdin, flush=True)
        return np.array(self.process.stdout.readline().split(), float)

    def result(self, step):
        self.run("write " + step)
        return np.load(os.path.join(self.folder, step + ".npy"))


def seconds(work, times):
    """Elapsed and processor time, of so many times the work."""
    begin, processor = time.perf_counter(), time.process_time()
    work()
    return times * np.array([time.perf_counter() - begin, time.process_time() - processor])


def difference(ours, theirs):
    """Largest difference as a share of the range."""
    return float(np.max(np.abs(ours - theirs)) / (theirs.max() - theirs.min()))


def shift_errors(shifts, drift):
    errors = (shifts + drift) / DISPERSION
    errors -= np.median(errors)
    return f"{errors.std():.3f} channels rms, largest {np.abs(errors).max():.2f}"


def spike_errors(found, spikes):
    beside = ndimage.binary_dilation(spikes, np.ones((1, 1, 7)))
    return f"{(found & spikes).sum()} of {spikes.sum()} spikes, {(found & ~beside).sum()} false"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", default="chain,bin,despike,measure,move", help="that are timed")
    parser.add_argument("--folder")
    options = parser.parse_args()
    folder = options.folder or tempfile.mkdtemp()
    cube, drift, spikes = make_cube(np.random.default_rng(1))
    np.save(os.path.join(folder, "cube.npy"), cube)
    np.save(os.path.join(folder, "shifts_ev.npy"), (-drift).astype(np.float32))
    moved_by = (-drift).astype(np.float32)
    ours = Ours(options.program, folder)

    lines = HEIGHT // PART
    part = cube[:lines]
    chain, binned, moved = scipy_chain(cube), numpy_bin(cube), scipy_move(part, moved_by[:lines])
    print(f"{datetime.date.today()}, {cube.shape} float32, {os.cpu_count()} processors, "
          f"load {os.getloadavg()[0]:.1f} at the start; NumPy {np.__version__}, SciPy {scipy.__version__}, "
          f"scikit-image {skimage.__version__}, Python {platform.python_version()}; medians of {options.rounds} rounds")
    print("results")
    print(f"  chain    differs by {difference(ours.result('chain'), chain):.1e} of the range")
    print(f"  bin      differs by {difference(ours.result('bin'), binned):.1e} of the range")
    print(f"  move     differs by {difference(ours.result('move')[:lines], moved):.1e} of the range")
    print(f"  measure  {shift_errors(ours.result('measure'), drift)}; phase_cross_correlation "
          f"{shift_errors(skimage_measure(part), drift[:lines])}")
    print(f"  despike  {spike_errors(ours.result('despike') != 0, spikes)}; median_filter "
          f"{spike_errors(scipy_despike(part)[1], spikes[:lines])}", flush=True)
    del chain, binned, moved

    comparisons = [
        ("chain", "SciPy", 1, lambda: scipy_chain(cube)),
        ("bin", "skimage block_reduce", 1, lambda: skimage_bin(cube)),
        ("bin", "NumPy reshape, sum", 1, lambda: numpy_bin(cube)),
        ("despike", "SciPy median_filter", PART, lambda: scipy_despike(part)),
        ("measure", "skimage phase_cross_correlation", PART, lambda: skimage_measure(part)),
        ("move", "SciPy shift, order 3", PART, lambda: scipy_move(part, moved_by)),
    ]
    print("Seconds elapsed (and of all processors together), medians; the ratio of the elapsed ones, its range, and "
          "the ratio of\nthe processors' seconds, which other work on the machine changes less")
    for step, name, times, theirs in comparisons:
        if step not in options.steps.split(","):
            continue
        ours.run(step)
        pairs = []
        for round_number in range(options.rounds):
            if round_number % 2 == 0:
                a = ours.run(step)
                b = seconds(theirs, times)
            else:
                b = seconds(theirs, times)
                a = ours.run(step)
            pairs.append((a, b))
        pairs = np.array(pairs)  # (round, ours or theirs, elapsed or processors)
        a, b = np.median(pairs, 0)
        ratios = pairs[:, 1] / pairs[:, 0]
        print(f"{step:8} {a[0]:6.3f} ({a[1]:.3f})   {name:32} {b[0]:6.2f} ({b[1]:.2f})  {np.median(ratios[:, 0]):6.1f} x, "
              f"{ratios[:, 0].min():.1f} to {ratios[:, 0].max():.1f}; {np.median(ratios[:, 1]):.1f} x", flush=True)


if __name__ == "__main__":
    main()
