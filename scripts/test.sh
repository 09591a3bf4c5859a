#!/usr/bin/env bash
# Installs what is needed into .venv, then checks style, types, layers, and runs the tests, one process a core.
#   bash scripts/test.sh [--all] [arguments of pytest]
# --all runs the tests marked `long` as well, as CI does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
which=(-m 'not long')
if [ "${1:-}" = --all ]; then
    which=(-m 'long or not long')
    shift
fi
bash scripts/setup.sh
export PATH="$PWD/.venv/bin:$PATH"
ruff check .
ruff format --check .
{ mypy && lint-imports; } > .venv/checks.log 2>&1 & # beside the tests: it has one core busy for half a minute
checks=$!
export OMP_NUM_THREADS=1 # the processes below share the cores
# what tests write goes to memory where there is room: each file that is made to last waits for the disk
room=$(df --output=avail /dev/shm 2> /dev/null | tail -1) || room=0
if [ "${room:-0}" -gt 4000000 ] && ! grep -q ' /dev/shm .*noexec' /proc/mounts; then
    TMPDIR=$(mktemp -d -p /dev/shm)
    export TMPDIR
    trap 'rm -rf "$TMPDIR"' EXIT
fi
# what fails runs once more and is named as RERUN: a machine loaded by others makes ranks and workers miss their times
tests=0
pytest -q -n auto --maxprocesses 4 --dist loadgroup --reruns 1 -rR "${which[@]}" "$@" || tests=$?
wait "$checks" || { cat .venv/checks.log; exit 1; }
exit "$tests"
