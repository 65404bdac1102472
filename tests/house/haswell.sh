#!/bin/sh
# Runs the programs on an emulated processor with AVX2 and nothing newer: simulate, train, detect.
# Usage: haswell.sh BUILD_FOLDER
set -eu
build=$(realpath "$1")
qemu=$(command -v qemu-x86_64) || { echo "no qemu-x86_64"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 XDG_CACHE_HOME="$work/cache"
run() { program=$1; shift; "$qemu" -cpu Haswell "$build/eelsvae-$program" "$@"; }
cd "$work"
cat > tiny.json <<'END'
{"tiles": {"image_size": 8, "sliding_window_stride": 8}, "model": {"channels": [4, 8, 8, 16], "hidden": 32, "latent_dim": 4},
 "training": {"epochs": 1, "batch_size": 2}}
END
run simulate --shape 16 16 64 --offset-ev 700 --seed 3 --output film.hspy
run train tiny.json --data film.hspy --output run
run detect --model run --data film.hspy --output found
run detect --baseline mean --data film.hspy --output mean
test -s found/summary.json && test -s mean/summary.json
