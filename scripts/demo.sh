#!/bin/sh
# The main job on a simulated specimen: simulate, train, detect, compare with the truth.
# Usage: scripts/demo.sh BUILD_FOLDER OUTPUT_FOLDER
set -eu
programs=$1
output=$2
mkdir -p "$output"
# Threads that wait for each other soon sleep: on a machine that does other work too, spinning ones are in its way.
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-1000}"
rm -rf "$output/run" "$output/found"

echo "1. Simulating a BiFeO3 film; in 3 % of its pixels the Fe L lines are shifted by 2.4 eV"
"$programs/eelsvae-simulate" --preset bfo --seed 1 --shape 96 96 256 --offset-ev 660 --exposure 4 \
  --shift-ev 2.4 --anomalies 0.03 --anomaly-radius 1.5 --output "$output/film.hspy" --truth "$output/truth.npy"
echo
echo "2. Learning what normal spectra of this film look like, from the film itself"
"$programs/eelsvae-train" configs/demo.json --data "$output/film.hspy" --output "$output/run"
echo
echo "3. Looking for spectra that do not fit"
"$programs/eelsvae-detect" --model "$output/run" --data "$output/film.hspy" --truth "$output/truth.npy" \
  --output "$output/found"
