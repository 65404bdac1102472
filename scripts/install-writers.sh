#!/bin/sh
# Installs the programs of the field that write files for tests/io/formats/writers_test.cpp, simulators of detectors for
# tests/simplon, and programs in which scans are running for python/tests/live: a Python environment for each list in
# tests/io/writers, below build/writers. They are not part of the product. That with HyperSpy also has what builds and tests
# the Python package. Nothing is done when they are there already. Where no package index is reached, build/writers/no-index
# says so, and the tests are skipped.
set -eu
cd "$(dirname "$0")/.."
lists=tests/io/writers
into=build/writers
export PIP_DEFAULT_TIMEOUT=60 PIP_RETRIES=2  # seconds; an index that does not answer is given up soon
mkdir -p $into
rm -f $into/no-index
for list in $lists/requirements-*.txt; do
  name=$(basename "$list" .txt | sed s/requirements-//)
  cmp -s "$list" "$into/$name/installed.txt" && continue
  rm -rf "${into:?}/$name"
  /usr/bin/python3 -m venv "$into/$name"
  # Complete lists: nothing but what stands there is installed. Compiling all of it would take most of the time.
  if ! "$into/$name/bin/python" -m pip install --quiet --no-deps --no-compile --requirement "$list" 2> $into/log; then
    cat $into/log
    # An index that answers has refused something, which is a fault of the list.
    if "$into/$name/bin/python" -m pip download --quiet --no-deps --dest $into/probe pip > /dev/null 2>&1; then exit 1; fi
    echo "no package index is reached; the tests of what other programs write and send and of the Python package are skipped"
    touch $into/no-index
    exit 0
  fi
  cp "$list" "$into/$name/installed.txt"
done
