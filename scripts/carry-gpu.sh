#!/bin/bash
# Packs the built programs and tests for a machine that has a GPU but not what building needs: the programs, the tests
# of kernels, engine and programs, and the shared libraries they need besides CUDA's and the C and C++ runtimes.
# Usage: scripts/carry-gpu.sh DIR [BUILD_FOLDER]
# DIR receives carried.tar.gz, which scripts/verify-gpu.sh --carried DIR unpacks.
set -eu
into=$1
build=${2:-build/release}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$into" "$work/bin" "$work/lib"

for file in "$build"/eelsvae-{bench,convert,detect,info,simulate,train} "$build"/tests/{kernels,engine,apps}_test; do
  [ -x "$file" ] || { echo "$file is not built" >&2; exit 1; }
  strip -o "$work/bin/$(basename "$file")" "$file"
done
# Libraries that the other machine has in its own version, which must fit its driver and its C runtime.
theirs='^(libcuda|libcudart|libcudnn|libcublas|libnv|libc|libm|libdl|librt|libpthread|libresolv|libstdc\+\+|libgcc_s)(\.|_|Lt|rtc|-)'
missing=$(ldd "$work"/bin/* | awk '/not found/ && !seen[$1]++ { print $1 }' | grep -Ev "$theirs" || true)
[ -z "$missing" ] || { echo "not found: $missing" >&2; exit 1; }
ldd "$work"/bin/* | awk '$2 == "=>" && $3 ~ /^\// && !seen[$3]++ { print $3 }' | while read -r library; do
  basename "$library" | grep -Eq "$theirs" && continue
  strip --strip-unneeded -o "$work/lib/$(basename "$library")" "$library"
done
# Tests find their fixtures by the path of the sources at build time.
pwd > "$work/source_folder"
tar -C "$work" -czf "$into/carried.tar.gz" .
du -h --apparent-size "$work/bin" "$work/lib" "$into/carried.tar.gz"
bytes=$(stat -c %s "$into/carried.tar.gz")
[ "$bytes" -lt $((50 * 1024 * 1024)) ] || { echo "carried.tar.gz is too large to carry" >&2; exit 1; }
