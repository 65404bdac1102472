#!/bin/bash
# Builds, tests and measures on a machine with an NVIDIA GPU, in under nine minutes.
# Usage: scripts/verify-gpu.sh OUTPUT_FOLDER [--carried DIR]
#   --carried DIR   use what scripts/carry-gpu.sh packed instead of building here
# OUTPUT_FOLDER receives summary.txt (a line per step), steps.log (what every step said) and the measurements, named
# as in benchmarks/results. A failing step does not stop the later ones; status 1 says that one failed. A sanitizer
# that runs out of its time has checked only what it came to; the summary says "cut short", which is no failure.
set -u
out=$(mkdir -p "$1" && cd "$1" && pwd) || exit 2
carried=
if [ "${2:-}" = --carried ]; then carried=$(cd "$3" && pwd) || exit 2; fi
cd "$(dirname "$0")/.."
total=${EELSVAE_VERIFY_SECONDS:-530}
device=${EELSVAE_VERIFY_DEVICE:-cuda}  # cpu: a rehearsal of this script where there is no GPU
tests=${EELSVAE_VERIFY_TESTS:-*cuda*:*Cuda*}
energy=${EELSVAE_VERIFY_ENERGY:-1312}
batches=${EELSVAE_VERIFY_BATCHES:-1 8 64}
precisions=${EELSVAE_VERIFY_PRECISIONS:-fp32 tf32 bf16}
work=$(mktemp -d)
link= programs=
trap 'rm -rf "$work" ${programs:+"$programs"}; [ -z "$link" ] || rm -f "$link"' EXIT
failed=0
printf '%-12s %8s  %s\n' result seconds step > "$out/summary.txt"
: > "$out/steps.log"

# step NAME LIMIT FILE COMMAND...: runs the command for LIMIT seconds at most, or as long as there is time left. Its
# output goes to steps.log; its standard output, where FILE is not -, to FILE alone.
step() {
  local name=$1 limit=$2 file=$3 begin=$SECONDS left=$((total - SECONDS)) log="$out/$1.log" result=pass status
  shift 3
  [ "$limit" -le "$left" ] || limit=$left
  if [ "$limit" -lt 5 ]; then
    result="no time" status=1
  elif [ "$file" = - ]; then
    timeout -k 5 "$limit" "$@" > "$log" 2>&1 < /dev/null
    status=$?
  else
    timeout -k 5 "$limit" "$@" > "$file" 2> "$log" < /dev/null
    status=$?
  fi
  if [ $status -eq 124 ] && [[ $name == *check* ]] && ! grep -Eq '^========= .*(Invalid|Error|Race|hazard|hit)|FAILED' "$log"; then
    result="cut short" status=0
  fi
  if [ $status -ne 0 ]; then
    [ "$result" = pass ] && result="FAIL $status"
    failed=1
  fi
  printf '%-12s %8d  %s\n' "$result" $((SECONDS - begin)) "$name" | tee -a "$out/summary.txt"
  { echo "==== $name: $result: $*"; cat "$log" 2> /dev/null; } >> "$out/steps.log"
  rm -f "$log"
  return $status
}

python=$(command -v python3)
machine=$(nvidia-smi --query-gpu=name --format=csv,noheader 2> /dev/null | head -1 | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9-')
prefix="$out/${machine:-$device}-$(date -u +%Y-%m-%d)"
step environment 20 - sh -c 'nvidia-smi; nvcc --version; cmake --version; compute-sanitizer --version; true'

# cuDNN and cuBLAS, where the toolkit has none, come with Python packages.
folders=$("$python" -c 'import glob, site
print(":".join(f for s in [*site.getsitepackages(), site.getusersitepackages()] for f in sorted(glob.glob(s + "/nvidia/*/lib"))))')
if [ -n "$carried" ]; then
  step unpack 60 - tar -C "$work" -xzf "$carried/carried.tar.gz"
  bin=$work/bin
  kernels_test=$bin/kernels_test engine_test=$bin/engine_test apps_test=$bin/apps_test
  libraries=$work/lib:$folders
  # The tests look for their fixtures below the folder that they were built in.
  built_in=$(cat "$work/source_folder")
  # And for the programs where those were built. What is built here stays, and is tested in their place.
  if [ ! -e build/release ]; then mkdir -p build/release && ln -s "$bin"/eelsvae-* build/release/ && programs=build/release; fi
  if [ ! -e "$built_in" ]; then mkdir -p "$(dirname "$built_in")" && ln -s "$PWD" "$built_in" && link=$built_in; fi
else
  arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
  [ "$arch" != 90 ] || arch=90a  # wgmma and setmaxnreg
  step configure 60 - cmake --preset release "-DEELSVAE_CUDA_ARCHITECTURES=$arch-real" -DEELSVAE_BENCHMARKS=OFF
  step build 300 - cmake --build --preset release --target programs kernels_test engine_test apps_test
  bin=$PWD/build/release
  kernels_test=$bin/tests/kernels_test engine_test=$bin/tests/engine_test apps_test=$bin/tests/apps_test
  libraries=$folders
fi
# For our programs alone: Python is to find its own libraries.
run="env LD_LIBRARY_PATH=$libraries:${LD_LIBRARY_PATH:-}"
printf '#!/bin/sh\nexec %s "%s" "$@"\n' "$run" "$bin/eelsvae-bench" > "$work/bench"
chmod +x "$work/bench"

step kernels-tests 90 - $run "$kernels_test" --gtest_brief=1 "--gtest_filter=$tests"
step engine-tests 90 - $run "$engine_test" --gtest_brief=1 "--gtest_filter=$tests"

# The programs choose the device themselves. Their tests train, kill, resume and compare bits.
step programs-tests 60 - $run "$apps_test" --gtest_brief=1 "--gtest_filter=MainJobTest.*:ResumeTest.*"

# The main job, twice: the same seed gives the same bits.
cat > "$work/job.sh" <<'JOB'
set -e
cd "$1"
for run in one two; do
  [ -e film.hspy ] || "$2/eelsvae-simulate" --preset bfo --seed 1 --shape 96 96 256 --offset-ev 660 --exposure 4 \
    --shift-ev 2.4 --anomalies 0.03 --anomaly-radius 1.5 --output film.hspy --truth truth.npy
  "$2/eelsvae-train" "$4/configs/demo.json" --data film.hspy --output run --set "device=$3" --set training.epochs=5
  "$2/eelsvae-detect" --model run --data film.hspy --truth truth.npy --output found --set "device=$3"
  mkdir $run
  mv run/model.safetensors found/scores.npy $run
  rm -r run found
done
cmp one/scores.npy two/scores.npy
# The header holds how long epochs took; the tensors follow it.
python3 -c '
def tensors(path):
    content = open(path, "rb").read()
    return content[8 + int.from_bytes(content[:8], "little"):]
assert tensors("one/model.safetensors") == tensors("two/model.safetensors"), "two trainings differ"'
echo "both trainings gave the same bits"
JOB
step train-detect-twice 60 - $run sh "$work/job.sh" "$work" "$bin" "$device" "$PWD"

for precision in $precisions; do
  step "bench-$precision" 60 "$work/$precision.txt" "$work/bench" --device "$device" --precision "$precision" \
    --energy "$energy" --batch $batches --seconds 0.5 --roofline --json "$work/$precision.json"
done
for precision in $precisions; do cat "$work/$precision.txt"; echo; done > "$prefix-bench.txt" 2> /dev/null
"$python" - "$work" $precisions > "$prefix-bench.json" <<'PYTHON'
import json, os, sys
folder, *precisions = sys.argv[1:]
files = [f"{folder}/{p}.json" for p in precisions]
print(json.dumps([json.load(open(f)) for f in files if os.path.exists(f)], indent=1))
PYTHON

if [ "$device" = cuda ]; then
  # Memory errors first, then races of the kernels written here; libraries' own kernels are not looked at twice.
  step memcheck 70 - $run compute-sanitizer --error-exitcode 1 "$kernels_test" --gtest_brief=1 "--gtest_filter=$tests-*PastTwoToThe*:*Large*"
  step racecheck 45 - $run compute-sanitizer --tool racecheck --error-exitcode 1 "$kernels_test" --gtest_brief=1 \
    "--gtest_filter=*Adam*cuda*:*BiasRelu*cuda*:*Latent*cuda*:*Loss*cuda*:*Norm*cuda*:*Linear*cuda*"
fi

# The last cell to be begun may take 40 s longer than the budget.
left=$((total - SECONDS - 45))
[ "$left" -le 220 ] || left=220
step compare-pytorch $((left + 45)) "$work/pytorch.md" "$python" benchmarks/compare_pytorch.py --bench "$work/bench" \
  --device "$device" --energy "$energy" --batch $batches --seconds 0.5 --budget "$left" \
  --precision $(echo "$precisions" | tr ' ' '\n' | grep -E 'bf16|tf32' | tac) \
  --json "$prefix-compare-pytorch.json" --markdown "$prefix-compare-pytorch.txt"

printf '%-12s %8d  %s\n' "$([ $failed -eq 0 ] && echo pass || echo FAIL)" $SECONDS all | tee -a "$out/summary.txt"
exit $failed
