#!/bin/bash
# The stages of `make test`. What takes hours is in scripts/test-long.sh.
set -u
cd "$(dirname "$0")/.."
source scripts/stages.sh

stage packages scripts/install-packages.sh --tests || finish
# What other programs write is read by tests, and the Python package is built and tested beside them; where no package index
# is reached, both are skipped, and so is the documentation.
stage writers scripts/install-writers.sh || finish
python="-DEELSVAE_PYTHON=ON -DPython_EXECUTABLE=$PWD/build/writers/hyperspy/bin/python"
[ -e build/writers/no-index ] && python="-DEELSVAE_PYTHON=OFF"
# Continuous integration compiles GPU code for one architecture only; nothing runs it there.
stage configure cmake --preset release $python ${CI:+-DEELSVAE_CUDA_ARCHITECTURES=90a-real} || finish
stage build cmake --build --preset release || finish
rm -f build/*/junit.xml  # an old one would hide that there is no new one
beside analysis scripts/analyse.sh
stage tests ctest --preset release --output-junit junit.xml
stage "sanitizers: configure" cmake --preset sanitize-ci &&
  stage "sanitizers: build" cmake --build --preset sanitize-ci &&
  stage "sanitizers: tests" ctest --preset sanitize-ci --output-junit junit.xml
stage analysis ended analysis
[ -e build/writers/no-index ] || stage documentation scripts/docs.sh
stage outcomes python3 tests/house/outcomes.py tests/allowed_skips.txt build/release/junit.xml build/sanitize-ci/junit.xml
finish
