#!/usr/bin/env bash
# sbatch scripts/slurm_train.sh OPTION_FILE [more arguments of votes train]
# Trains under SLURM, one launcher a node. Five minutes before the time is up the run saves and the job puts itself back
# into the queue; there it goes on. Edit the resources. Written for SLURM 22 and later; not yet run on a cluster.
#SBATCH --job-name=votes
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm_%j.log
set -euo pipefail
child=
asked=
trap 'stopping=1; asked=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true' TERM INT USR1
if [ $# -lt 1 ]; then
    echo "usage: sbatch scripts/slurm_train.sh OPTION_FILE [--set KEY=VALUE ...]" >&2
    exit 2
fi
cd "${SLURM_SUBMIT_DIR:-.}"
python=python3
if [ -x .venv/bin/python ]; then python=$PWD/.venv/bin/python; fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

place=()
if [ "${SLURM_NNODES:-1}" -gt 1 ]; then
    nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")  # no `| head`: what it cuts off would fail the pipe
    first=${nodes%%$'\n'*}
    place=(--nnodes "$SLURM_NNODES" --rdzv "$first:$((20000 + SLURM_JOB_ID % 10000))" --rdzv-id "$SLURM_JOB_ID")
fi
srun "$python" -m votes.cli launch --nproc "${SLURM_GPUS_ON_NODE:-auto}" "${place[@]}" train -opt "$@" &
child=$!
if [ -n "$asked" ]; then kill -TERM "$child" 2>/dev/null || true; fi  # it came before there was a child
# a trap interrupts `wait`: only the wait that the child ended tells its exit code
while true; do
    stopping=
    code=0
    wait "$child" || code=$?
    [ -n "$stopping" ] || break
done
case "$asked$code" in
1129 | 1130 | 1138 | 1143) code=75 ;; # asked to stop before there was anything that could listen: nothing is lost
esac
if [ "$code" -eq 75 ]; then
    echo "saved; back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit "$code"
