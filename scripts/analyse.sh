#!/bin/sh
# Static analysis of all that is not a test. A finding is a failure. One that is wrong is suppressed beside the code
# or in tests/house/cppcheck_suppressions.txt, with the reason.
set -eu
cd "$(dirname "$0")/.."
mkdir -p build/cppcheck  # keeps what was found in files that have not changed since
exec cppcheck --enable=warning,portability --std=c++20 --language=c++ -I . --quiet -j "$(nproc)" \
  --inline-suppr --suppressions-list=tests/house/cppcheck_suppressions.txt --cppcheck-build-dir=build/cppcheck \
  --error-exitcode=1 --template='{file}:{line}: {id}: {message}' kernels engine io interface python apps benchmarks fuzz tools
