#!/usr/bin/env bash
# On a machine with a GPU: the tests marked gpu, then every benchmark of speed with the fused kernels. What it writes
# can be committed as it is.
#   bash scripts/bench_gpu.sh [OUT [PEAK_BF16_TFLOPS PEAK_GIGABYTES_A_SECOND]]        OUT: benchmarks/results
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:-benchmarks/results}
tflops=${2:-990}        # of an H100 or H200, as its maker states it
gigabytes=${3:-4800}    # of an H200
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
export PYTHONPATH=$PWD
if ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "error: torch sees no GPU here; see \`votes doctor\`" >&2
    exit 2
fi
mkdir -p "$out"
failed=0
"$python" -m votes.cli doctor | tee "$out/gpu_doctor.txt"
# tests, then benchmarks, whatever became of the tests: what fails is in the file
"$python" -m pytest -q -m gpu -rA tests 2>&1 | tee "$out/gpu_tests.txt" || failed=1
export VOTES_DEFORM_CONV=triton
bench() {
    "$python" "benchmarks/$1.py" --device cuda "${@:2}" -o "$out/$1_gpu.json" || failed=1
}
bench deform_conv --tflops "$tflops" --gigabytes "$gigabytes"
bench train_step --sizes paper L --parts bf16 --tflops "$tflops"
bench scaling
bench restore --size 540 960
exit "$failed"
