#!/bin/sh
# What share of the spectra that a detection finds is false, at requested false-discovery rates of 1, 5 and 10 %, on
# simulated specimens with and without anomalies, and on a film beside vacuum, on a scan that was broken off, and with
# noise that is correlated along energy; with the mean spectrum in the model's place, which needs no training, or (EXPECTATION=model)
# with a model that is trained on each image, anomalies and all. The anomalies are shifts of iron's edge by 2.4 eV. Average
# precision, which no threshold decides, is of these and of shifts half as large. With a model, smaller images, and the former alone.
# CASES names some of the specimens.
# Usage: benchmarks/false_discovery.sh BUILD_FOLDER CONFIG.json WORK_FOLDER [SEEDS]
# Needs Python (PYTHON names it) with numpy, scipy and h5py. A simulated image's hot pixel, twice as bright, is no false alarm and no find.
set -eu
programs=$1
config=$2
work=$3
seeds=${4:-10}
expectation=${EXPECTATION:-mean}
defects='fe-shift:1.2@0.01 fe-shift:2.4@0.01 none'
shape='96 96 256 --offset-ev 680'
if [ "$expectation" = model ]; then
  defects='fe-shift:2.4@0.01'
  shape='64 64 128 --offset-ev 692'
fi
mkdir -p "$work"
# A specimen's name, and the options that make it.
cases=${CASES:-'bfo: interface: gradient: hetero: polycrystal: bfo:vacuum=0.2 bfo:vacuum=0.5 bfo:vacuum=0.8 bfo:unscanned=0.02 bfo:unscanned=0.2
       bfo:unscanned=0.5 bfo:correlation=0.3 bfo:correlation=0.5'}
for case in $cases; do
  more=${case#*:}
  for seed in $(seq 1 "$seeds"); do
    image="$work/$case-$seed"
    for defect in $defects; do
      "$programs/eelsvae-simulate" --preset "${case%%:*}" --seed "$seed" --shape $shape --exposure 4 \
        ${more:+--$more} --defect $defect --output "$image.hspy" --truth "$image.npy" > "$work/log.txt" 2>&1
      source="--baseline mean --config $config"
      if [ "$expectation" = model ]; then
        rm -rf "$work/run"
        "$programs/eelsvae-train" "$config" --data "$image.hspy" --output "$work/run" > "$work/log.txt" 2>&1
        source="--model $work/run"
      fi
      if [ $defect = fe-shift:1.2@0.01 ]; then rates=0.05; else rates='0.01 0.05 0.1'; fi
      for rate in $rates; do
        # shellcheck disable=SC2086
        "$programs/eelsvae-detect" $source --data "$image.hspy" --set detection.fdr=$rate --output "$image-${defect%@*}-$rate" > "$work/log.txt" 2>&1
      done
      cp "$image.npy" "$image-${defect%@*}-truth.npy"
    done
  done
done
"${PYTHON:-python3}" - "$work" "$seeds" "$expectation" $cases <<'END'
import json
import sys
import h5py, numpy
from scipy.stats import beta, binom

work, seeds, with_model = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "model"
print(f"{'specimen':20} {'asked':>6} {'found':>6} {'false':>6} {'delivered':>9}  95 % interval    {'recall':>6}  trusted   "
      "AP 2.4  1.2 eV  deviance  without anomalies: images with an alarm")
everything = {}
for case in sys.argv[4:]:
    for rate in ("0.01", "0.05", "0.1"):
        found = false = missed = trusted = alarms = 0
        precision = {"2.4": 0} if with_model else {"2.4": 0, "1.2": 0}
        deviance = 0
        for seed in range(1, seeds + 1):
            image = f"{work}/{case}-{seed}"
            with h5py.File(image + ".hspy") as file:
                counts = next(iter(file["Experiments"].values()))["data"][:].sum(axis=2)
            counted = numpy.ones(counts.shape, bool)
            counted[numpy.unravel_index(counts.argmax(), counts.shape)] = False
            mask = numpy.load(f"{image}-fe-shift:2.4-{rate}/mask.npy").astype(bool) & counted
            truth = numpy.load(image + "-fe-shift:2.4-truth.npy").astype(bool)
            found += mask.sum()
            false += (mask & ~truth).sum()
            missed += (truth & ~mask).sum()
            summary = json.load(open(f"{image}-fe-shift:2.4-{rate}/summary.json"))
            trusted += summary["trusted"]
            own = (summary["predictive_deviance"] or {}).get("model" if with_model else "mean")
            deviance += (float("nan") if own is None else own) / seeds
            for shift in precision:
                scores = numpy.load(f"{image}-fe-shift:{shift}-0.05/scores.npy")
                scored = counted & ~numpy.isnan(scores)
                hits = numpy.load(f"{image}-fe-shift:{shift}-truth.npy")[scored][numpy.argsort(-scores[scored])]
                precision[shift] += (numpy.cumsum(hits) / numpy.arange(1, hits.size + 1))[hits].mean() / seeds
            if not with_model:
                alarms += (numpy.load(f"{image}-none-{rate}/mask.npy").astype(bool) & counted).any()
        everything.setdefault(rate, []).append((found, false, found - false + missed))
        low = beta.ppf(0.025, false, found - false + 1) if false else 0
        high = beta.ppf(0.975, false + 1, found - false)
        shifts = f"{precision['2.4']:6.3f}  {precision.get('1.2', float('nan')):6.3f}"
        print(f"{case.rstrip(':').replace(':', ' '):20} {float(rate):6.2f} {found:6d} {false:6d} {false / found:9.4f}  {low:.4f} to {high:.4f} "
              f"{1 - missed / (found - false + missed):6.3f} {trusted:5d} of {seeds}  {shifts}  {deviance:8.3f} {alarms:6d} of {seeds}", flush=True)
# Whether any case delivers more than its rate, with Holm's correction: the smallest p-value times the number of cases.
for rate, cases in everything.items():
    found, false, anomalous = numpy.sum(cases, axis=0)
    p = numpy.sort([binom.sf(f - 1, n, float(rate)) for n, f, _ in cases])
    holm = min(1, len(p) * p[0])
    print(f"{'all':20} {float(rate):6.2f} {found:6d} {false:6d} {false / found:9.4f}  recall {(found - false) / anomalous:.3f}  "
          f"{max(f / n for n, f, _ in cases) / float(rate):.2f} times the rate where it is worst, Holm-corrected p {holm:.3f}")
END
