#!/bin/sh
# Makes a wheel of the Python extension that a build folder has (EELSVAE_PYTHON), with the libraries in it that it needs, in
# BUILD_FOLDER/wheels. The tools are those of build/writers/hyperspy (scripts/install-writers.sh).
# Usage: wheel.sh BUILD_FOLDER
set -eu
build=$(realpath "$1")
cd "$(dirname "$0")/.."
tools=$(realpath build/writers/hyperspy/bin)
rm -rf "$build/wheels" "$build/python/plain"
"$tools/python" -m pip wheel . --quiet --no-deps --no-build-isolation --wheel-dir "$build/python/plain" \
  --config-settings=cmake.define.EELSVAE_BUILT="$build" --config-settings=build-dir="$build/python/packed"
# NVIDIA's libraries are large, and their licence is not ours to pass on.
PATH="$tools:$PATH" auditwheel repair --exclude 'libcud*' --exclude 'libcublas*' --exclude 'libnv*' \
  --wheel-dir "$build/wheels" "$build"/python/plain/*.whl
ls "$build"/wheels/*.whl
