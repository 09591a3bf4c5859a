#!/usr/bin/env bash
# bash dist_train.sh GPUS OPTION_FILE [PORT] [more arguments of votes train]
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: bash dist_train.sh GPUS OPTION_FILE [PORT] [--set KEY=VALUE ...]" >&2
    exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=python3
if [ -x "$here/.venv/bin/python" ]; then python=$here/.venv/bin/python; fi
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m votes.cli launch --nproc "$1" --port "${3:-4321}" train -opt "$2" "${@:4}"
