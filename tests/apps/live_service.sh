#!/bin/sh
# Twenty seconds of the measurement of benchmarks/live_service.py: repeated scans at 1,000 spectra/s of which nothing is
# lost. Its delays are for a machine that does nothing else.
# Usage: live_service.sh SOURCES BUILD
set -eu
/usr/bin/python3 -c 'import numpy, zmq' 2>/dev/null || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for noise in 1 2; do
  "$2/eelsvae-simulate" --seed 1 --noise-seed $noise --shape 50 60 640 --dispersion-ev 0.6 --output "$work/$noise.npy"
done
"$2/eelsvae-detect" "$work/1.npy" --baseline mean --output "$work/found" --set data.energy_offset=420 --set data.dispersion=0.6
/usr/bin/python3 "$1/benchmarks/live_service.py" "$2" "$work/2.npy" --rate 1000 --seconds 20 --energy 420 0.6 -- --state "$work/found"
