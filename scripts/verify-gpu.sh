#!/bin/bash
set -u

help() {
  cat << 'HELP'
Tests and measures on a machine with an NVIDIA GPU, in calls of less than nine minutes each.

  scripts/verify-gpu.sh OUTPUT_FOLDER [--carried DIR] [--step NAME]... [--rehearse]

A call does as many of the steps that are not done yet as fit into its time; the next call goes on after them:

  while scripts/verify-gpu.sh results; [ $? -eq 3 ]; do :; done

  --carried DIR   use the programs that scripts/carry-gpu.sh packed, unpacked in DIR, instead of building here; the
                  script in such a folder does so by itself
  --step NAME     only this step, even if it was done, failed or was killed before; may be given several times
  --rehearse      where there is no GPU: the emulated device takes its place, at small sizes

OUTPUT_FOLDER receives
  summary.txt     a line per step: done, failed, killed or not yet, its seconds, and why
  STEP/           what the step said (log.txt), its tables and JSON, once it came to its end, done or failed
  STEP.killed/    what it had left when it ran out of its time, or the machine ended it; it is not tried again by itself
  cache/          which kernels were chosen, so that every call takes the same

Steps, in this order:
  environment         the machine, its driver and its libraries
  build               configures and compiles, unless the programs are carried
  kernel-tests        \
  engine-tests         > the tests on this device
  program-tests       /
  same-bits           trains and detects twice with one seed: the results are equal to the bit
  bench-bf16          eelsvae-bench at batches 1 and 8
  bench-fp32          the same
  bench-tf32          the same
  memcheck            compute-sanitizer: addresses
  racecheck           ... shared memory, kernels of our own
  initcheck           ... what nobody wrote, kernels of our own
  bench-bf16-batch64  in a call of its own
  compare-pytorch     beside PyTorch, in a call of its own

Environment: EELSVAE_VERIFY_SECONDS, the time of a call (530). python3 is that of the PATH; with PyTorch for the last step.
Status: 0 every step is done; 1 one failed or was killed; 2 nothing can run here, a line says why; 3 call again.
HELP
}

fail() {
  echo "verify-gpu.sh: $1" >&2
  exit 2
}

out= carried= rehearse= asked=()
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) help; exit 0 ;;
    --carried | --step)
      [ $# -ge 2 ] || fail "$1 needs a value; see --help"
      if [ "$1" = --step ]; then asked+=("$2"); else carried=$2; fi
      shift
      ;;
    --rehearse) rehearse=yes ;;
    -*) fail "there is no $1; see --help" ;;
    *) [ -z "$out" ] || fail "two output folders, $out and $1"; out=$1 ;;
  esac
  shift
done
[ -n "$out" ] || fail "OUTPUT_FOLDER is missing; see --help"
out=$(mkdir -p "$out" && cd "$out" && pwd) || exit 2
root=$(cd "$(dirname "$0")/.." && pwd)
[ -n "$carried" ] || [ ! -x "$root/bin/eelsvae-bench" ] || carried=$root
if [ -n "$carried" ]; then
  [ -x "$carried/bin/eelsvae-bench" ] || fail "no bin/eelsvae-bench in $carried; unpack carried.tar.xz there"
  root=$(cd "$carried" && pwd)
  programs=$root/bin tests=$root/bin
else
  programs=$root/build/release tests=$root/build/release/tests
fi

ulimit -c 0
# Steps that a call before this one, or one beside it, is still at would write to the same folders.
exec 9> "$out/lock"
flock -w 20 9 || fail "another call, or a step that it left behind, works on $out; wait for its end"

[ -n "$rehearse" ] || [ ! -e "$out/rehearsal.json" ] || fail "$out holds a rehearsal; name another folder"

total=${EELSVAE_VERIFY_SECONDS:-530}
steps=(environment)
[ -n "$carried" ] || steps+=(build)
steps+=(kernel-tests engine-tests program-tests same-bits bench-bf16 bench-fp32 bench-tf32 memcheck racecheck initcheck
  bench-bf16-batch64 compare-pytorch)
for name in ${asked[@]+"${asked[@]}"}; do
  [[ " ${steps[*]} " == *" $name "* ]] || fail "no step $name; there are ${steps[*]}"
done

# Seconds that a step may take, a share of those of a call. What may take nearly all of them has a call of its own.
limit_of() {
  case $1 in
    environment) echo $((total / 18)) ;;
    kernel-tests | engine-tests) echo $((total / 3)) ;;
    program-tests | same-bits) echo $((total / 6)) ;;
    bench-bf16 | bench-fp32 | bench-tf32 | memcheck | racecheck | initcheck) echo $((total / 4)) ;;
    build | bench-bf16-batch64 | compare-pytorch) echo $((total * 9 / 10)) ;;
  esac
}

# What differs in a rehearsal.
device=cuda config= energy=1312 small_batches="1 8" large_batch=64 seconds=0.5 variants= precisions="bf16 tf32" epochs=5
film="--preset bfo --shape 96 96 256 --offset-ev 660 --exposure 4 --shift-ev 2.4 --anomalies 0.03 --anomaly-radius 1.5"
kernel_suites='*' engine_suites='*' checked='*Adam*:*BiasRelu*:*Latent*:*Loss*:*Norm*:*Linear*:*Convert*:*Image*:*BackendMemory*:*Conv3dTest.AnExample*'
if [ -n "$rehearse" ]; then
  device=emulated energy=32 small_batches=1 large_batch=2 seconds=0.003 variants=eager precisions=fp32 epochs=1
  film="--shape 22 26 64 --offset-ev 700"
  export OMP_NUM_THREADS=1  # what is small gains nothing from threads and loses much where others keep them busy
  kernel_suites='*NormsTest*' engine_suites='*ModelTest.PlansOfSmallNetworksAreSound*' checked='*LatentTest*'
  cat > "$out/rehearsal.json" << 'JSON'
{"preprocess": {"xy_window": 1}, "tiles": {"image_size": 8, "sliding_window_stride": 8},
 "model": {"channels": [2, 3, 4, 5], "hidden": 8, "latent_dim": 3}, "loss": {"dose": 100}, "training": {"batch_size": 4}}
JSON
  config=$out/rehearsal.json
fi

python=$(command -v python3) || fail "no python3 in the PATH"
# cuDNN and cuBLAS, where the toolkit has none, come with Python packages.
folders=$("$python" -c 'import glob, site
print(":".join(f for s in [*site.getsitepackages(), site.getusersitepackages()] for f in sorted(glob.glob(s + "/nvidia/*/lib"))))')
PATH=$PATH:/usr/local/cuda/bin
export XDG_CACHE_HOME=$out/cache EELSVAE_TEST_SOURCES=$root EELSVAE_TEST_PROGRAMS=$programs
# For our programs alone: Python is to find its own libraries.
libraries=$root/lib:${LD_LIBRARY_PATH:-}:$folders:/usr/local/cuda/lib64

# Ends the command when the time of the step is over.
limited() {
  local left=$((deadline - SECONDS))
  timeout -k 5 $((left > 1 ? left : 1)) "$@"
}
ours() { limited env "LD_LIBRARY_PATH=$libraries" "$@"; }

# What keeps the programs from running on this device, in a line that names the remedy; nothing if they run.
obstacle() {
  local program missing said deadline=$((SECONDS + 30)) remedy="--step build"
  [ -z "$carried" ] || remedy="unpack carried.tar.xz again"
  for program in "$programs"/eelsvae-{bench,detect,simulate,train} "$tests"/{kernels,engine,apps}_test; do
    [ -x "$program" ] || { echo "$program is missing: $remedy"; return; }
  done
  missing=$(ours ldd "$programs/eelsvae-bench" 2>&1 | grep -F 'not found' | head -1 | sed 's/^[[:space:]]*//')
  case $missing in
    '') ;;
    *GLIBC*) echo "$missing: the C runtime here is too old for these programs; build them on a system as old as this one"; return ;;
    libcublasLt.so.13* | libcudnn.so.9*)
      echo "$missing, as a PyTorch for CUDA 12 has another: pip install nvidia-cublas nvidia-cudnn-cu13, or name its folder in LD_LIBRARY_PATH"
      return
      ;;
    libcublasLt.so.12*)
      echo "$missing, as a PyTorch for CUDA 13 has another: pip install nvidia-cublas-cu12 nvidia-cudnn-cu12, or name its folder in LD_LIBRARY_PATH"
      return
      ;;
    *) echo "$missing: install what provides it, or name its folder in LD_LIBRARY_PATH"; return ;;
  esac
  # No device has this precision; one that is there says so, and one that is not says why.
  said=$(ours "$programs/eelsvae-bench" --device "$device" --precision none 2>&1 < /dev/null | tail -1)
  case $said in
    *"no NVIDIA driver"*) echo "$said: install a driver for it, or programs built with an older CUDA, 12.8 or newer"; return ;;
    *"cannot be used"*) echo "$said"; return ;;
    *"not in this build"*)
      echo "device $device is not in these programs: build them where CMake does not say 'not built' of it"
      return
      ;;
  esac
  [ "$device" = cuda ] || return
  said=$(ours "$python" -c 'import ctypes
version = ctypes.CDLL("libcudnn.so.9").cudnnGetVersion()
if version < 90800: print("cuDNN", ".".join(map(str, (version // 10000, version // 100 % 100, version % 100))))' 2> /dev/null)
  [ -z "$said" ] || { echo "$said here is older than 9.8: pip install --upgrade nvidia-cudnn-cu13 (or -cu12)"; return; }
}

# Each step runs in its folder, with its output in log.txt there. A line REASON ... is for the summary.

step_environment() {
  date -u
  uname -srm
  nproc
  grep -m 1 'model name' /proc/cpuinfo
  free -g
  limited nvidia-smi
  limited nvidia-smi -q -d CLOCK,POWER,MEMORY,PERFORMANCE
  limited nvcc --version
  limited cmake --version
  limited compute-sanitizer --version
  limited "$python" --version
  limited "$python" -c 'import torch
print("PyTorch", torch.__version__, "CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version())'
  ours ldd "$programs/eelsvae-bench"
  true  # what is not there is no failure; the log says so
}

step_build() {
  cd "$root" && limited cmake --preset release -DEELSVAE_BENCHMARKS=OFF &&
    limited cmake --build --preset release --target programs kernels_test engine_test apps_test
}

# run_tests PROGRAM FILTER [LAUNCHER...]: fails too where no test ran on the device.
run_tests() {
  local program=$1 filter=$2 status
  shift 2
  ours "$@" "$tests/$program" "--gtest_filter=$filter" --gtest_output=json:tests.json
  status=$?
  [ $status -eq 0 ] || return $status
  "$python" -c 'import json
tests = [t for suite in json.load(open("tests.json"))["testsuites"] for t in suite["testsuite"]]
ran = [t for t in tests if t["result"] == "COMPLETED"]
print(len(ran), "tests ran,", len(tests) - len(ran), "were skipped")
if not ran:
    raise SystemExit("REASON no test ran on the device")'
}

# The tests of these suites that have the device's name.
on_device() {
  local suite filter=
  set -f  # stars are gtest's
  for suite in ${1//:/ }; do filter+="$suite$device*:"; done
  echo "$filter"
}

step_kernel-tests() { run_tests kernels_test "$(on_device "$kernel_suites")"; }
step_engine-tests() { run_tests engine_test "$(on_device "$engine_suites")"; }
# The programs choose the device themselves. These train, kill, resume and compare bits.
step_program-tests() {
  run_tests apps_test "$([ -n "$rehearse" ] && echo 'ResumeTest.AFinishedRun*' || echo 'MainJobTest.*:ResumeTest.*')"
}

step_same-bits() {
  local run
  work=$(mktemp -d) || return
  trap 'rm -rf "$work"' EXIT
  cd "$work" || return
  ours "$programs/eelsvae-simulate" $film --seed 1 --output film.hspy --truth truth.npy || return
  for run in one two; do
    ours "$programs/eelsvae-train" "${config:-$root/configs/film.json}" --data film.hspy --output $run \
      --set "device=$device" --set "training.epochs=$epochs" || return
    ours "$programs/eelsvae-detect" --model $run --data film.hspy --truth truth.npy --output $run-found \
      --set "device=$device" || return
  done
  cp one-found/summary.json "$here"
  cmp one-found/scores.npy two-found/scores.npy || { echo "REASON two detections differ"; return 1; }
  # The header holds how long epochs took; the tensors follow it.
  "$python" -c '
def tensors(path):
    content = open(path, "rb").read()
    return content[8 + int.from_bytes(content[:8], "little"):]
if tensors("one/model.safetensors") != tensors("two/model.safetensors"):
    raise SystemExit("REASON two trainings differ")'
}

bench() {
  local precision=$1
  shift
  ours "$programs/eelsvae-bench" --device "$device" --precision "$precision" ${config:+--config "$config"} \
    --energy "$energy" --seconds "$seconds" --roofline --json bench.json --batch "$@" > bench.txt
}

step_bench-bf16() { bench bf16 $small_batches; }
step_bench-fp32() { bench fp32 $small_batches; }
step_bench-tf32() { bench tf32 $small_batches; }
step_bench-bf16-batch64() { bench bf16 $large_batch; }

# A rehearsal runs the same tests without the sanitizer, which needs a GPU.
sanitized() {
  local launcher=(compute-sanitizer --error-exitcode 1 --tool "$@")
  if [ -n "$rehearse" ]; then
    launcher=()
  elif ! command -v compute-sanitizer; then
    echo "REASON no compute-sanitizer in the PATH; it comes with the CUDA toolkit"
    return 1
  fi
  run_tests kernels_test "$(on_device "$checked")" ${launcher[@]+"${launcher[@]}"}
}

# A test provokes allocations that fail.
step_memcheck() { sanitized memcheck --report-api-errors no; }
step_racecheck() { sanitized racecheck; }
step_initcheck() { sanitized initcheck; }

step_compare-pytorch() {
  "$python" -c 'import torch' || { echo "REASON no PyTorch for $python: pip install torch"; return 1; }
  printf '#!/bin/bash\nexec env LD_LIBRARY_PATH=%q %q "$@"\n' "$libraries" "$programs/eelsvae-bench" > bench.sh
  chmod +x bench.sh
  # The last cell to be begun may take longer than the budget by 45 s.
  limited "$python" "$root/benchmarks/compare_pytorch.py" --bench ./bench.sh --device "${device/emulated/cpu}" \
    ${config:+--config "$config"} --energy "$energy" --batch $small_batches $large_batch --seconds "$seconds" \
    --precision $precisions ${variants:+--variants $variants} \
    --budget "$((deadline - SECONDS - 60))" --json pytorch.json --markdown pytorch.md || return
  "$python" -c 'import json
if not any(row["ratio"] for row in json.load(open("pytorch.json"))["rows"]):
    raise SystemExit("REASON no cell has both times")'
}

# The one line about a step, in a file of its folder: state, seconds, reason.
write_result() { printf '%s\t%s\t%s\n' "$2" "$3" "$4" > "$1/result"; }

result_of() {
  local folder
  for folder in "$out/$1.killed" "$out/$1"; do
    if [ -e "$folder/result" ]; then cat "$folder/result"; return; fi
  done
  printf 'not yet\t-\t\n'
}

write_summary() {
  local name state took reason
  {
    printf '%-20s %-8s %8s\n' step result seconds
    for name in "${steps[@]}"; do
      IFS=$'\t' read -r state took reason <<< "$(result_of "$name")"
      printf '%-20s %-8s %8s  %s\n' "$name" "$state" "$took" "$reason"
    done
  } | sed 's/ *$//' > "$out/summary.txt.part"
  mv "$out/summary.txt.part" "$out/summary.txt"
}

do_step() {
  local name=$1 began=$SECONDS status took reason
  here=$out/$name.part deadline=$((SECONDS + $2))
  rm -rf "$out/$name" "$out/$name.killed"
  mkdir "$here"
  date +%s > "$here/began"
  echo "$name, $2 s at most" >&2
  (cd "$here" && "step_$name") > "$here/log.txt" 2>&1 < /dev/null
  status=$? took=$((SECONDS - began))
  rm "$here/began"
  reason=$(sed -n 's/.*REASON //p' "$here/log.txt" | tail -1)
  if [ $status -eq 124 ] || [ $status -eq 137 ]; then
    write_result "$here" killed $took "${reason:-$([ $took -ge "$2" ] && echo "$2 s are over" || echo "by the system")}"
    mv "$here" "$out/$name.killed"
  else
    if [ $status -eq 0 ]; then
      write_result "$here" "done" $took ""
    else
      write_result "$here" failed $took "${reason:-$([ $status -gt 128 ] && echo "signal $((status - 128))" || echo "status $status")}; see $name/log.txt"
    fi
    mv "$here" "$out/$name"
  fi
  write_summary
}

# What a call before this one left in the middle of a step.
for part in "$out"/*.part/; do
  [ -e "$part/began" ] || continue
  part=${part%/} name=$(basename "$part" .part)
  last=$(find "$part" -type f -printf '%T@\n' | sort -n | tail -1)
  write_result "$part" killed $((${last%.*} - $(cat "$part/began"))) "with the call that it was in"
  rm -rf "$part/began" "$out/$name.killed"
  mv "$part" "$out/$name.killed"
done

first=yes runs=
for name in $([ ${#asked[@]} -gt 0 ] && printf '%s\n' "${asked[@]}" || printf '%s\n' "${steps[@]}"); do
  [ ${#asked[@]} -gt 0 ] || [[ $(result_of "$name") == "not yet"* ]] || continue
  limit=$(limit_of "$name") left=$((total - SECONDS))
  if [ $limit -gt $left ] || [ $left -lt 5 ]; then
    [ -n "$first" ] || continue
    limit=$left
  fi
  if [ -z "$runs" ] && [ "$name" != environment ] && [ "$name" != build ]; then
    why=$(obstacle)
    if [ -n "$why" ]; then
      write_summary
      fail "nothing can run here: $why"
    fi
    runs=yes
  fi
  do_step "$name" "$limit"
  first=
done
write_summary
cat "$out/summary.txt"
states=$(tail -n +2 "$out/summary.txt" | cut -c 22-29)
case $states in
  *"not yet"*) exit 3 ;;
  *failed* | *killed*) exit 1 ;;
esac
