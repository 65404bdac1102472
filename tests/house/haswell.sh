#!/bin/sh
# Runs the programs on an emulated processor with AVX2 and nothing newer: simulate, train, detect. On an older one the programs
# end with a line, and the library and the Python package answer with it.
# Usage: haswell.sh BUILD_FOLDER
set -eu
build=$(realpath "$1")
sources=$(realpath "$(dirname "$0")/../..")
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

lacks="this processor lacks AVX2 and FMA"
old() { "$qemu" -cpu Nehalem "$@" > said 2> told && { echo "$* does not fail"; exit 1; } || status=$?; }
old "$build/eelsvae-info" film.hspy
test $status = 2 && test ! -s said && test "$(wc -l < told)" = 1 && grep -q "$lacks" told || { echo "info: $status"; cat told; exit 1; }
cc -std=c99 -o score "$sources/examples/score.c" -I "$sources/include" -I "$sources/include/eelsvae" -L "$build" -leelsvae \
  -Wl,-rpath,"$build"
dd if=/dev/zero of=film.raw bs=1024 count=64 2> /dev/null
for with in mean run; do
  old ./score film.raw 16 16 64 700 0.3 $with scores.raw
  test $status = 1 && grep -q "$lacks" told || { echo "library: $status"; cat told; exit 1; }
done
if ls "$build"/python/eelsvae/_processor*.so > /dev/null 2>&1; then
  mkdir -p package
  cp -r "$sources/python/eelsvae" package
  cp "$build"/python/eelsvae/*.so package/eelsvae
  python=$(sed -n 's/^Python_EXECUTABLE:[A-Z]*=//p' "$build/CMakeCache.txt")
  export PYTHONPATH="$work/package" PYTHONDONTWRITEBYTECODE=1
  "$python" -c 'import eelsvae'
  old "$python" -c 'import eelsvae'
  test $status = 1 && tail -n 1 told | grep -q "^ImportError: eelsvae: $lacks" || { echo "Python: $status"; cat told; exit 1; }
fi
