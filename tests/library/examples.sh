#!/bin/sh
# Installs a build into an empty folder, builds examples/ outside of the sources against libeelsvae.so, and compares what
# they find and train with what eelsvae-detect and eelsvae-train do, number by number.
# Usage: examples.sh BUILD_FOLDER
set -eu
build=$(realpath "$1")
sources=$(realpath "$(dirname "$0")/../..")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME="$work/cache"
export EELSVAE_MAX_ISA=avx2  # one way to compute: of two that are as fast each program may take another, which rounds differently
cmake --install "$build" --prefix "$work/first" > "$work/log"
mv "$work/first" "$work/installed"  # where it lies is nobody's business
cd "$work"

# By pkg-config, in C99 and C++17, with no other header of ours in sight.
PKG_CONFIG_PATH=$(dirname "$(find installed -name eelsvae.pc)")
export PKG_CONFIG_PATH
flags="-Wall -Wextra -Wpedantic -Werror"
found_at_run_time="-Wl,-rpath,$(realpath "$(pkg-config --variable=libdir eelsvae)")"
cc -std=c99 $flags -o score_c "$sources/examples/score.c" $(pkg-config --cflags --libs eelsvae) "$found_at_run_time"
c++ -std=c++17 $flags -o score_cpp "$sources/examples/score.cpp" $(pkg-config --cflags --libs eelsvae) "$found_at_run_time"
# By CMake, from a project that knows no C++.
mkdir project
cat > project/CMakeLists.txt <<END
cmake_minimum_required(VERSION 3.22)
project(scoring LANGUAGES C)
find_package(eelsvae 0.1 REQUIRED COMPONENTS c)
if(TARGET OpenMP::OpenMP_C OR TARGET nlohmann_json::nlohmann_json)
  message(FATAL_ERROR "eelsvae::c looks for what it has inside")
endif()
add_executable(score "$sources/examples/score.c")
target_link_libraries(score PRIVATE eelsvae::c)
END
cmake -S project -B project/build -DCMAKE_PREFIX_PATH="$work/installed" > log || { cat log; exit 1; }
cmake --build project/build > log || { cat log; exit 1; }
for library in hdf5 zip blosc zstd cairo spdlog crypto; do
  if ldd score_c | grep "lib$library"; then echo "libeelsvae.so needs lib$library"; exit 1; fi
done

cat > tiny.json <<'END'
{"tiles": {"image_size": 8, "sliding_window_stride": 8}, "model": {"channels": [4, 8, 8, 16], "hidden": 32, "latent_dim": 4},
 "training": {"epochs": 2, "batch_size": 2, "validation_fraction": 0.2}, "preprocess": {"sigma": 0, "xy_window": 1},
 "precision": "fp32", "device": "cpu"}
END
PATH="$work/installed/bin:$PATH"
# Axes in whole steps, so that no unit of a file rounds them.
eelsvae-simulate --shape 24 24 64 --offset-ev 700 --seed 3 --output film.hspy > log
eelsvae-simulate --shape 32 32 64 --offset-ev 700 --seed 4 --shift-ev 5 --anomaly-radius 2 --output other.hspy >> log
for film in film other; do
  eelsvae-convert $film.hspy $film.npy >> log
  python3 -c 'import sys, numpy; numpy.load(sys.argv[1]).astype("<f4").tofile(sys.argv[2])' $film.npy $film.raw
done
axis="data.energy_offset=700 --set data.dispersion=0.3"
eelsvae-train tiny.json --data film.npy --set $axis --output run >> log
eelsvae-detect --model run --data film.npy --output own >> log
eelsvae-detect --model run --data other.npy --set $axis --output found >> log
eelsvae-detect --baseline mean --data other.npy --set $axis --output mean >> log
size="24 24 64 700 0.3" other="32 32 64 700 0.3"
for program in ./score_c project/build/score; do
  $program other.raw $other run scores.raw > scored 2> said
  $program other.raw $other mean mean.raw > scored_mean 2>> said
  test ! -s said || { echo "the library writes to stderr:"; cat said; exit 1; }
  cat scored scored_mean
  python3 "$sources/tests/library/same_scores.py" found scores.raw scored
  python3 "$sources/tests/library/same_scores.py" mean mean.raw scored_mean
done
./score_cpp film.raw $size trained.safetensors tiny.json > scored_own 2> log_of_training
cat scored_own
python3 "$sources/tests/library/same_scores.py" own - scored_own
python3 "$sources/tests/library/same_model.py" run/model.safetensors trained.safetensors
# A mistake is a line.
if ./score_c other.raw 32 32 8 700 0.3 run scores.raw 2> refused; then echo "8 channels were not refused"; exit 1; fi
test "$(wc -l < refused)" = 1 || { cat refused; exit 1; }
