#!/bin/sh
# Tests what is for other programs in which a scan is running, Nion Swift and LiberTEM-live, in these
# (scripts/install-writers.sh), with the package of a build.
# Usage: run.sh BUILD_FOLDER
set -eu
build=$(realpath "$1")
root=$(realpath "$(dirname "$0")/../../..")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME="$work/cache" OMP_WAIT_POLICY=passive
# The packages are large, and each of LiberTEM's processes imports them.
export PYTHONPYCACHEPREFIX="$root/build/writers/live/compiled"
export EELSVAE_MAX_ISA=avx2  # one way to compute: of two that are as fast each run may take another, which rounds differently
cp -r "$root/python/eelsvae" "$root/python/nionswift_plugin" "$work"
cp "$build"/python/eelsvae/_*.so "$work/eelsvae"
mkdir "$work/here"  # for what the programs leave
cd "$work/here"
PYTHONPATH="$work" "$root/build/writers/live/bin/python" -m pytest -q -p no:cacheprovider --import-mode=importlib \
  "$root/python/tests/live"
