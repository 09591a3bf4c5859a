#!/usr/bin/env bash
# On a machine with a GPU: the GPU tests, then every benchmark of speed with the fused kernels. Results go to OUT.
#   bash scripts/bench_gpu.sh OUT [PEAK_BF16_TFLOPS PEAK_GIGABYTES_A_SECOND]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:?where to}
tflops=${2:-990}        # of an H100 or H200, as its maker states it
gigabytes=${3:-4800}    # of an H200
mkdir -p "$out"
export VOTES_DEFORM_CONV=triton PYTHONPATH=$PWD
python -m pytest -q -m gpu tests | tee "$out/tests.txt"
python benchmarks/deform_conv.py --device cuda --tflops "$tflops" --gigabytes "$gigabytes" -o "$out/deform_conv_gpu.json"
python benchmarks/train_step.py --device cuda --sizes paper L --parts bf16 --tflops "$tflops" -o "$out/train_step_gpu.json"
python benchmarks/scaling.py --device cuda -o "$out/scaling_gpu.json"
python benchmarks/restore.py --device cuda --size 540 960 -o "$out/restore_gpu.json"
