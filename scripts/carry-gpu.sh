#!/bin/bash
# Packs for a machine that has a GPU but not what building needs: the programs, the tests of kernels, engine and programs
# with their fixtures, scripts/verify-gpu.sh and what it calls, and the shared libraries that all of them need besides
# CUDA's and the C and C++ runtimes. They run on any x86-64 processor with AVX2, with a C runtime of the version that the
# last line says or newer. The other machine needs an NVIDIA driver, cuDNN and cuBLAS for the CUDA version of the build,
# which a PyTorch for that version brings, and Python.
# Usage: scripts/carry-gpu.sh DIR [BUILD_FOLDER]
# DIR receives carried.tar.xz. There: python3 -m tarfile -e carried.tar.xz carried; carried/scripts/verify-gpu.sh results
set -eu
into=$1
build=${2:-build/release}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$into" "$work/bin" "$work/lib"

for file in "$build"/eelsvae-{bench,convert,detect,hdf5-reader,info,simulate,train} "$build"/tests/{kernels,engine,apps}_test; do
  [ -x "$file" ] || { echo "$file is not built" >&2; exit 1; }
  strip -o "$work/bin/$(basename "$file")" "$file"
done
ldd "$work/bin/eelsvae-bench" | grep -q libcudnn || { echo "the programs of $build are built without CUDA" >&2; exit 1; }
# Libraries that the other machine has in its own version, which must fit its driver and its C runtime.
theirs='^(libcuda|libcudart|libcudnn|libcublas|libnv|libc|libm|libdl|librt|libpthread|libresolv|libstdc\+\+|libgcc_s)(\.|_|Lt|rtc|-)'
missing=$(ldd "$work"/bin/* | awk '/not found/ && !seen[$1]++ { print $1 }' | grep -Ev "$theirs" || true)
[ -z "$missing" ] || { echo "not found: $missing" >&2; exit 1; }
ldd "$work"/bin/* | awk '$2 == "=>" && $3 ~ /^\// && !seen[$3]++ { print $3 }' | while read -r library; do
  basename "$library" | grep -Eq "$theirs" && continue
  strip --strip-unneeded -o "$work/lib/$(basename "$library")" "$library"
done
cp --parents scripts/verify-gpu.sh benchmarks/compare_pytorch.py configs/film.json tests/fixtures/cvae_pytorch.py \
  tests/fixtures/pytorch_*.safetensors tests/fixtures/h100-device-properties.json "$work"
# A dictionary that spans several programs: most of each is in all of them.
tar -C "$work" -cf - . | xz --lzma2=preset=3,dict=128MiB > "$into/carried.tar.xz"
du -h --apparent-size "$work/bin" "$work/lib" "$into/carried.tar.xz"
bytes=$(stat -c %s "$into/carried.tar.xz")
[ "$bytes" -lt $((50 * 1024 * 1024)) ] || { echo "carried.tar.xz is too large to carry" >&2; exit 1; }
echo "needs glibc $(objdump -T "$work"/bin/* "$work"/lib/* | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -1 | cut -d_ -f2) or newer"
