#!/usr/bin/env python3
"""What a scan's first rows tell of the rest: a state is learned from them and scores the whole scan.

    first_rows.py PROGRAMS [--rows 24] [--seeds 5 6]

PROGRAMS is the folder of eelsvae-simulate and eelsvae-detect. The films, 210 x 210 pixels and 640 channels, have no anomalies
but a hot pixel, which filters spread over nine: whatever else is found is a false alarm. A table in Markdown goes to the output.
"""
import argparse
import json
import os
import subprocess
import tempfile

PRESETS = ("bfo", "gradient", "interface", "wedge")
BASELINES = ("mean", "pca:auto", "local")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("programs")
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--seeds", type=int, nargs="+", default=[5, 6])
    options = parser.parse_args()

    def run(program, *arguments):
        subprocess.run([os.path.join(options.programs, "eelsvae-" + program), *map(str, arguments)], check=True,
                       capture_output=True)

    with tempfile.TemporaryDirectory() as folder:
        film, learned, scored = (os.path.join(folder, name) for name in ("film.hspy", "learned", "scored"))

        def found(output, *arguments):
            run("detect", film, "--output", output, *arguments)
            with open(os.path.join(output, "summary.json"), encoding="utf8") as file:
                summary = json.load(file)
            return f"{summary['anomalous_pixels']}{'' if summary['trusted'] else ' (not to be trusted, it says)'}"

        print(f"| film | baseline | found by what the whole scan shows | by what its first {options.rows} rows show |")
        print("|---|---|---|---|")
        for preset in PRESETS:
            for seed in options.seeds:
                run("simulate", "--preset", preset, "--seed", seed, "--shape", 210, 210, 640, "--dispersion-ev", 0.6, "--exposure",
                    4, "--defect", "none", "--output", film)
                for baseline in BASELINES:
                    whole = found(learned, "--baseline", baseline)
                    found(learned, "--baseline", baseline, "--set", f"preprocess.crop_y=0,{options.rows}")
                    print(f"| {preset}, seed {seed} | {baseline} | {whole} | {found(scored, '--state', learned)} |", flush=True)


if __name__ == "__main__":
    main()
