#!/bin/sh
# A detection with the mean spectrum in an image that is larger than the memory it may use: the time it takes without a
# limit, and in a memory control group of so many MB. The scores must have the same bits.
# Usage: benchmarks/larger_than_memory.sh BUILD_FOLDER [LIMIT_MB [HEIGHT [WIDTH]]]
# 800 MB and 700 x 700 pixels of 1340 channels, a DM4 file of 2.63 GB, unless told otherwise. The file, which is out of
# the page cache when a detection starts, and scratch files lie in TMPDIR, or /var/tmp. What a detection needs beside its
# cubes must fit: 200 MB do for 200 x 200 pixels, 150 do not. Control groups of version 1 are made as root, those of
# version 2 by systemd.
set -eu
programs=$1
limit=$((${2:-800} * 1000000))
height=${3:-700}
width=${4:-$height}
group=/sys/fs/cgroup/memory/eelsvae-$$

TMPDIR=${TMPDIR:-/var/tmp}
export TMPDIR
work=$(mktemp -d)
trap 'rm -rf "$work"; [ ! -d "$group" ] || rmdir "$group"' EXIT
trap 'exit 130' INT TERM

limited() {
  if [ -d /sys/fs/cgroup/memory ]; then
    mkdir "$group" && echo $limit > "$group/memory.limit_in_bytes" &&
      sh -c 'echo $$ > "$0/cgroup.procs" && exec "$@"' "$group" "$@"
  elif [ "$(id -u)" = 0 ]; then
    systemd-run --quiet --scope -p MemoryMax=$limit -p MemorySwapMax=0 "$@"
  else
    systemd-run --user --quiet --scope -p MemoryMax=$limit -p MemorySwapMax=0 "$@"
  fi
}

# Its name, then what runs it.
detect() {
  name=$1
  shift
  sync "$work/film.dm4"
  dd if="$work/film.dm4" iflag=nocache count=0 status=none
  start=$(date +%s.%N)
  "$@" "$programs/eelsvae-detect" --baseline mean --set data.energy_range=423.3,816.6 --data "$work/film.dm4" \
    --output "$work/$name" > "$work/log.txt" 2>&1 || { cat "$work/log.txt"; exit 1; }
  echo "$name: $(date +%s.%N) $start" | awk '{ printf "%-10s %7.1f s   ", $1, $2 - $3 }'
  sed -n 's/^.*\(Time .*\)/\1/p' "$work/log.txt"
}

"$programs/eelsvae-simulate" --shape "$height" "$width" 1340 --output "$work/film.dm4" > "$work/log.txt"
echo "$height x $width x 1340, a file of $(($(stat -c %s "$work/film.dm4") / 1000000)) MB; limit $((limit / 1000000)) MB"
detect unlimited env
detect limited limited
cmp "$work/unlimited/scores.npy" "$work/limited/scores.npy"
echo "The scores have the same bits."
