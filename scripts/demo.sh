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

echo "1. Simulating a perovskite lattice; four Fe atoms sit on the wrong site, four columns lack most of theirs"
"$programs/eelsvae-simulate" --preset lattice --seed 1 --shape 96 96 256 --offset-ev 660 --exposure 2 \
  --defect antisite:0.8@4 --defect vacancy:0.8@4 --output "$output/atoms.hspy" --truth "$output/truth.npy"
echo
echo "2. Learning from the scan itself which spectrum belongs where"
"$programs/eelsvae-train" configs/lattice.json --data "$output/atoms.hspy" --output "$output/run"
echo
echo "3. Looking for spectra that do not fit, with the mean spectrum and PCA beside"
"$programs/eelsvae-detect" --model "$output/run" --data "$output/atoms.hspy" --truth "$output/truth.npy" \
  --beside mean --beside pca:auto --output "$output/found"
