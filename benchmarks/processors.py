#!/usr/bin/env python3
"""Times two networks with every set of kernels that this processor has, in turn, and says what `auto` takes.

    processors.py --bench build/release/eelsvae-bench [--rounds 3] [--seconds 0.5] [--markdown FILE]

Published network at batch 1 and configs/film.json at its batch and 256 channels: milliseconds of a training step and of a
reconstruction, the median over the rounds, and the share of the floor that binds (the time that the work takes at the
ceiling of memory or of arithmetic that these kernels have, over the time that it took). Below each table, what `auto`
takes under each cap (EELSVAE_MAX_ISA), measured anew in every round, and the time of that over the fastest under the cap.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
NETWORKS = {
    "published network, batch 1": ["--batch", "1"],
    "configs/film.json, batch 4, 256 channels": ["--config", str(ROOT / "configs/film.json"), "--energy", "256"],
}
VARIANTS = [("fp32", "avx2"), ("fp32", "avx512"), ("bf16", "avx2"), ("bf16", "avx512"), ("bf16", "avx512_bf16"),
            ("bf16", "amx")]
CAPS = ["avx2", "avx512", "avx512_bf16", "amx"]


def bench(options, arguments, mode):
    """(milliseconds, share of the floor, the run's JSON), or None where the processor has no such kernels."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "bench.json")
        environment = dict(os.environ, XDG_CACHE_HOME=folder, OMP_WAIT_POLICY="passive")
        result = subprocess.run([options.bench, "--device", "cpu", f"--{mode}", "--seconds", str(options.seconds), "--json",
                                 str(file), *arguments], capture_output=True, text=True, env=environment)
        if "not to be had here" in result.stderr:
            return None
        if result.returncode != 0:
            raise SystemExit(result.stderr)
        data = json.loads(file.read_text())
        key = "training_step_seconds" if mode == "training" else "inference_seconds"
        reached = next(word for word in result.stdout.split("reached ")[1].split())
        return 1e3 * data[key], int(reached), data


def choice_of_auto(options, arguments, mode, cap):
    """(precision, kernels) that are chosen with an empty cache where no more than `cap` may be used."""
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ, XDG_CACHE_HOME=folder, OMP_WAIT_POLICY="passive", EELSVAE_MAX_ISA=cap)
        process = subprocess.Popen([options.bench, "--device", "cpu", f"--{mode}", *arguments], text=True, env=environment,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        words = process.stdout.readline().split()
        process.kill()
        process.wait()
        return words[0], words[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bench", required=True, help="eelsvae-bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="time for each figure")
    parser.add_argument("--markdown", help="write the tables here")
    options = parser.parse_args()
    lines, description = [], ""
    for network, arguments in NETWORKS.items():
        for mode in ("training", "inference"):
            times, shares, chosen = {}, {}, {}
            for _ in range(options.rounds):
                for variant in VARIANTS:
                    measured = bench(options, [*arguments, "--precision", variant[0], "--kernels", variant[1]], mode)
                    if measured:
                        times.setdefault(variant, []).append(measured[0])
                        shares.setdefault(variant, []).append(measured[1])
                        description = measured[2]["description"]
                for cap in CAPS:
                    if any(kernels == cap for _, kernels in times):
                        chosen.setdefault(cap, []).append(choice_of_auto(options, arguments, mode, cap))
            medians = {variant: statistics.median(t) for variant, t in times.items()}
            begin = len(lines)
            lines += [f"## {network}: " + ("training step" if mode == "training" else "reconstruction"), "",
                      "| precision | kernels | ms | share of its floor |", "|---|---|---:|---:|"]
            for variant in times:
                lines.append(f"| {variant[0]} | {variant[1]} | {medians[variant]:.1f} | "
                             f"{statistics.median(shares[variant]):.0f} % |")
            lines += ["", "| cap | auto takes | its time / the fastest under the cap |", "|---|---|---|"]
            for cap, choices in chosen.items():
                least = min(ms for (_, kernels), ms in medians.items() if CAPS.index(kernels) <= CAPS.index(cap))
                lines.append(f"| {cap} | " + ", ".join(" ".join(choice) for choice in choices) + " | " +
                             ", ".join(f"{medians[choice] / least:.2f}" for choice in choices) + " |")
            lines.append("")
            print("\n".join(lines[begin:]), flush=True)
    head = [f"# Every set of kernels on one processor, {datetime.date.today()}", "",
            description.split(", kernels")[0] + ". Made by `benchmarks/processors.py --bench build/release/eelsvae-bench "
            f"--rounds {options.rounds} --seconds {options.seconds}`.", ""]
    if options.markdown:
        pathlib.Path(options.markdown).write_text("\n".join(head + lines).rstrip() + "\n")


main()
