#!/bin/sh
# Installs a build into an empty folder, builds a small program outside of the sources against it, and compares what it
# finds with what eelsvae-detect finds.
# Usage: check.sh BUILD_FOLDER
set -eu
build=$(realpath "$1")
sources=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME="$work/cache"
cmake --install "$build" --prefix "$work/installed" > "$work/log"
cmake -S "$sources" -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$work/installed" > "$work/log" ||
  { cat "$work/log"; exit 1; }
cmake --build "$work/build" > "$work/log" || { cat "$work/log"; exit 1; }
# It asks for nothing that it does not use.
for library in hdf5 zip cairo spdlog; do
  if ldd "$work/build/describe" | grep "lib$library"; then echo "a checkpoint needs lib$library to open"; exit 1; fi
done

cd "$work"
cat > tiny.json <<'END'
{"tiles": {"image_size": 8, "sliding_window_stride": 8}, "model": {"channels": [4, 8, 8, 16], "hidden": 32, "latent_dim": 4},
 "training": {"epochs": 1, "batch_size": 2}, "precision": "fp32", "device": "cpu"}
END
PATH="$work/installed/bin:$PATH"
eelsvae-simulate --shape 24 16 64 --offset-ev 700 --seed 3 --output film.hspy > log
eelsvae-convert film.hspy film.dm4 >> log
eelsvae-train tiny.json --data film.dm4 --output run >> log
eelsvae-detect --model run --data film.dm4 --output scan >> log
eelsvae-detect --model run --data film.dm4 --set preprocess.crop_y=8,24 --output rows >> log
"$work/build/describe" run/model.safetensors
"$work/build/score" run/model.safetensors film.dm4 > scored
cat scored
# An HDF5 file is read by another program, which is found where it was installed.
"$work/build/score" run/model.safetensors film.hspy > scored_hspy
cmp scored scored_hspy
expect() {
  anomalous=$(python3 -c 'import json, sys; s = json.load(open(sys.argv[1])); print(s["anomalous_pixels"], "of", s["pixels"])' \
    "$1/summary.json")
  grep -qx "$anomalous spectra of $2 do not fit" scored || { echo "eelsvae-detect found $anomalous in $2"; exit 1; }
}
expect scan "the scan"
expect rows "some rows"
