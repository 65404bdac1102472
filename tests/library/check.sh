#!/bin/sh
# Installs a build into an empty folder, builds small programs outside of the sources against it, and compares what they
# train and find with what eelsvae-train and eelsvae-detect do.
# Usage: check.sh BUILD_FOLDER
set -eu
build=$(realpath "$1")
sources=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME="$work/cache"
export EELSVAE_MAX_ISA=avx2  # one way to compute: of two that are as fast each program may take another, which rounds differently
cmake --install "$build" --prefix "$work/installed" > "$work/log"
cmake -S "$sources" -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$work/installed" > "$work/log" ||
  { cat "$work/log"; exit 1; }
cmake --build "$work/build" > "$work/log" || { cat "$work/log"; exit 1; }
# They ask for nothing that they do not use, and are compiled as they like.
for program in describe train; do
  for library in hdf5 zip blosc zstd cairo spdlog crypto; do
    if ldd "$work/build/$program" | grep "lib$library"; then echo "$program needs lib$library"; exit 1; fi
  done
done
if grep -oE -e '-(W|m|f)[a-z][^ "]*' "$work/build/compile_commands.json"; then
  echo "a program that links eelsvae is compiled with these options of its own"
  exit 1
fi

cd "$work"
cat > tiny.json <<'END'
{"tiles": {"image_size": 8, "sliding_window_stride": 8}, "model": {"channels": [4, 8, 8, 16], "hidden": 32, "latent_dim": 4},
 "training": {"epochs": 2, "batch_size": 2}, "precision": "fp32", "device": "cpu"}
END
PATH="$work/installed/bin:$PATH"
eelsvae-simulate --shape 24 16 64 --offset-ev 700 --seed 3 --output film.hspy > log
eelsvae-convert film.hspy film.dm4 >> log
eelsvae-train tiny.json --data film.dm4 --output run >> log
eelsvae-detect --model run --data film.dm4 --output scan >> log
eelsvae-detect --model run --data film.dm4 --set preprocess.crop_y=8,24 --output rows >> log
"$work/build/describe" run/model.safetensors
"$work/build/train" > trained
cat trained
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
python3 - > expected <<'END'
import json
last = [json.loads(line) for line in open("run/metrics.jsonl")][-1]
found = json.load(open("scan/summary.json"))
print(f"loss {last['training']['loss']:.9g} after {last['epoch']} epochs")
print(f"{found['anomalous_pixels']} of {found['pixels']} spectra do not fit (score above {found['threshold']:.3f})")
END
diff expected trained || { echo "a program that trains in memory comes to something else than eelsvae-train"; exit 1; }
