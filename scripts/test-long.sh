#!/bin/bash
# The stages of `make test-long`: what continuous integration has no time for, and ratios of times, which want a machine
# that does nothing else. Each fuzz target runs for EELSVAE_FUZZ_SECONDS (default 600). All output goes to
# build/test-long.log; build/test-long-summary.txt has what is worth keeping: machine, commit, counts of tests and skips,
# executions of each fuzz target, and the stages' times.
set -u
cd "$(dirname "$0")/.."
source scripts/stages.sh
mkdir -p build

run() {
  echo "commit $(git rev-parse HEAD)$(git diff --quiet HEAD || echo ', and changes')"
  date -u '+%Y-%m-%d %H:%M UTC'
  echo "$(nproc) x $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1); $(g++ --version | head -1); $(uname -sr)"
  stage packages scripts/install-packages.sh --tests || finish
  stage "packages: fuzz" scripts/install-packages.sh --fuzz || finish
  stage writers scripts/install-writers.sh
  rm -f build/*/junit.xml  # an old one would hide that there is no new one
  stage "release: configure" cmake --preset release &&
    stage "release: build" cmake --build --preset release --target benchmark_streams_vs_ceilings benchmark_forward_vs_primitives read_images &&
    stage performance ctest --preset performance --verbose &&
    stage "damaged HDF5" fuzz/damage_hdf5.py build/release --files 3000
  stage "sanitize: configure" cmake --preset sanitize &&
    stage "sanitize: build" cmake --build --preset sanitize &&
    stage "sanitize: tests" ctest --preset sanitize --output-junit junit.xml
  stage "sanitize: outcomes" python3 tests/house/outcomes.py tests/allowed_skips.txt build/sanitize/junit.xml
  stage "fuzz: configure" cmake --preset fuzz -DEELSVAE_FUZZ_SECONDS="${EELSVAE_FUZZ_SECONDS:-600}" &&
    stage "fuzz: build" cmake --build --preset fuzz &&
    stage "fuzz: run" ctest --preset fuzz --verbose
  finish
}

(run) 2>&1 | tee build/test-long.log
status=${PIPESTATUS[0]}
# The test's name in front of what libFuzzer says at the end, and what ctest, the stages and outcomes.py say.
grep -E '^(commit|[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]+ x |====|stage |all together|[0-9]+% tests passed)|(passed|FAILED)$|tests skipped$|^ {1,5}[0-9]+  [a-z]|^ *[0-9]+/[0-9]+ Test.*(fuzz\.|Failed|Timeout)|stat::number_of_executed_units|skipped for a reason|^failed: ' \
  build/test-long.log > build/test-long-summary.txt
exit "$status"
