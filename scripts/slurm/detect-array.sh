#!/bin/bash
# Many spectrum images on a cluster with Slurm: each task of the array takes images of the list that no other has begun.
#   sbatch --array=1-8 detect-array.sh cubes.csv results --model run
# List, results and images lie where all nodes see them, and eelsvae-detect in the PATH. A task that is ended or requeued
# leaves its image to the others. The same command goes on with what is missing.
#SBATCH --job-name=eelsvae
#SBATCH --cpus-per-task=8
#SBATCH --requeue
set -eu
list=$1 results=$2
shift 2
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
exec eelsvae-detect --manifest "$list" --output "$results" "$@"
