#!/bin/bash
# The job files of scripts/slurm, run by a real Slurm of one node that this starts for itself.
# Usage: run.sh SOURCES BUILD. Exit status 77: there is no Slurm, or nobody may start one.
set -eu
sources=$(realpath "$1") build=$(realpath "$2")
export PATH=$PATH:/usr/sbin
for program in munged slurmctld slurmd sbatch; do
  command -v $program > /dev/null || { echo "skipped: no $program"; exit 77; }
done
[ "$(id -u)" = 0 ] || { echo "skipped: only root starts Slurm"; exit 77; }
work=$(mktemp -d)
chmod 755 "$work"
processes=()
end() {
  kill "${processes[@]}" 2> /dev/null || true
  wait 2> /dev/null || true
  rm -rf "$work"
}
trap end EXIT

# Who speaks with whom: a key, and a socket of this test's own.
mkdir -m 755 "$work/munge"
head -c 1024 /dev/urandom > "$work/munge/key"
chmod 400 "$work/munge/key"
munged --foreground --force --key-file="$work/munge/key" --socket="$work/munge/socket" --pid-file="$work/munge/pid" \
  --log-file="$work/munge/log" --seed-file="$work/munge/seed" --num-threads=1 2> "$work/munged.log" &
processes+=($!)
read -r ports < <(/usr/bin/python3 -c '
import socket
sockets = [socket.socket() for _ in range(2)]
for each in sockets: each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in sockets))')
cat > "$work/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldPort=${ports% *}
SlurmdPort=${ports#* }
NodeName=$(hostname) NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
END
export SLURM_CONF=$work/slurm.conf
slurmctld -D -f "$SLURM_CONF" 2> "$work/slurmctld.log" &
processes+=($!)
slurmd -D -f "$SLURM_CONF" 2> "$work/slurmd.log" &
processes+=($!)
trouble() {
  echo "$1"
  tail -n 20 "$work"/*.log "$work"/*.out 2> /dev/null
  exit 1
}
for _ in $(seq 300); do
  [ "$(sinfo -h -o %T 2> /dev/null)" = idle ] && break
  sleep 0.2
done
[ "$(sinfo -h -o %T)" = idle ] || trouble "Slurm does not start"

cd "$work"
export PATH=$build:$PATH
echo path > cubes.csv
for i in $(seq 8); do
  eelsvae-simulate --shape 10 12 48 --offset-ev 700 --seed "$i" --output "film-$i.hspy" > /dev/null
  echo "film-$i.hspy" >> cubes.csv
done
sbatch --quiet --wait --array=1-3 --cpus-per-task=1 --output=array-%a.out "$sources/scripts/slurm/detect-array.sh" cubes.csv \
  results --baseline mean || trouble "the array job failed"
grep -h "spectra do not fit" array-*.out | sort | uniq -c
[ "$(grep -c ',done,' results/cubes.csv)" = 8 ] || trouble "not all images are done"
[ "$(cat array-*.out | grep -c "spectra do not fit")" = 8 ] || trouble "an image was worked on twice"
