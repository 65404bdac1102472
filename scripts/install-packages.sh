#!/bin/sh
# Installs the Debian packages that building (default), building the Python package (--python), building and testing
# (--tests), fuzzing (--fuzz), the kernels for ARM64 (--arm64) or the documentation (--docs) need. Packages that are there already are left alone;
# nothing is asked for when nothing is missing.
set -eu
packages="g++ cmake ninja-build nlohmann-json3-dev libgtest-dev
  libcli11-dev libspdlog-dev libhdf5-dev libdeflate-dev libblosc-dev libzstd-dev libcairo2-dev libzip-dev libssl-dev
  zlib1g-dev libeigen3-dev libboost-dev libjs-chart.js libzmq3-dev cppzmq-dev libcpp-httplib-dev liblz4-dev"
python="python3 python3-venv python3-pip python3-dev"
if [ "${1:-}" = "--python" ]; then
  packages="$packages $python"
fi
if [ "${1:-}" = "--tests" ]; then
  # PyTorch and HyperSpy only check what the programs wrote; the product does not use them.
  # oneDNN only to compare our kernels with, QEMU for a processor without AVX-512.
  packages="$packages libdnnl-dev qemu-user clang-format cppcheck python3-numpy python3-h5py python3-torch python3-hyperspy python3-zarr libboost-context-dev"
  # By which a program finds an installed library (tests/library/examples.sh).
  packages="$packages pkgconf"
  # With which scripts/install-writers.sh installs other programs that write files, and what builds the Python package.
  packages="$packages $python"
  # These look at the reports as a reader does.
  packages="$packages chromium chromium-driver python3-selenium"
  # A cluster of this machine alone, for the job files of scripts/slurm.
  packages="$packages slurm-wlm munge"
  # With which the client of eelsvae-serve talks to it.
  packages="$packages python3-zmq"
fi
if [ "${1:-}" = "--fuzz" ]; then
  packages="$packages clang libclang-rt-14-dev libomp-dev"
fi
if [ "${1:-}" = "--arm64" ]; then
  packages="cmake ninja-build nlohmann-json3-dev libgtest-dev g++-aarch64-linux-gnu qemu-user"
fi
if [ "${1:-}" = "--docs" ]; then
  packages="python3 python3-venv python3-pip"
fi
missing=""
for package in $packages; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "Installing:$missing"
root=""
[ "$(id -u)" -eq 0 ] || root=sudo
$root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends $missing
