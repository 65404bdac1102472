#!/bin/sh
# F1 of the film of configs/film.json, trained and searched in f32 and in bf16, for five seeds of the film.
# Usage: benchmarks/film_precisions.sh BUILD_FOLDER OUTPUT_FOLDER
set -eu
programs=$1
output=$2
mkdir -p "$output"
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-1000}"

echo "seed fp32 bf16"
for seed in 1 101 102 103 104; do
  "$programs/eelsvae-simulate" --preset bfo --seed $seed --shape 96 96 256 --offset-ev 660 --exposure 4 --shift-ev 2.4 \
    --anomalies 0.03 --anomaly-radius 1.5 --output "$output/film.hspy" --truth "$output/truth.npy" > "$output/log.txt"
  line=$seed
  for precision in fp32 bf16; do
    rm -rf "$output/run" "$output/found"
    "$programs/eelsvae-train" configs/film.json --data "$output/film.hspy" --output "$output/run" \
      --set device=cpu --set precision=$precision >> "$output/log.txt" 2>&1
    "$programs/eelsvae-detect" --model "$output/run" --data "$output/film.hspy" --truth "$output/truth.npy" \
      --output "$output/found" >> "$output/log.txt" 2>&1
    line="$line $(sed -n 's/.*"f1": *\([0-9.]*\).*/\1/p' "$output/found/summary.json")"
  done
  echo "$line"
done
