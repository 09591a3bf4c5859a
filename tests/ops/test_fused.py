"""The fused kernels: in Triton's interpreter against a float64 reference, and compiled for GPUs that are not here."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from votes.ops import backend_problem, deform_conv2d

triton = pytest.importorskip('triton')

HERE = Path(__file__).resolve().parent
ROUNDING = {'half precision': 2e-3, 'fixed point again': 0, 'wild offsets stay finite': 0, 'training': 1e-4}


@pytest.fixture(scope='module')
def interpreted():
    """What tests/ops/interpreted.py says, in a process in which Triton interprets."""
    environment = dict(os.environ, TRITON_INTERPRET='1', PYTHONPATH=str(HERE.parents[1]), OMP_NUM_THREADS='1')
    done = subprocess.run(
        [sys.executable, str(HERE / 'interpreted.py')], env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.long  # a thread of a GPU after the other
def test_values_and_gradients_in_the_interpreter(interpreted):
    """Relative distances of the output and of all gradients (x, offset, mask, weight, bias)."""
    for name, distances in interpreted.items():
        assert max(distances) <= ROUNDING.get(name, 2e-6), name
    assert len(interpreted) >= 14


def test_without_a_gpu_it_is_said(monkeypatch):
    if not torch.cuda.is_available():
        assert 'Triton needs a GPU' in backend_problem('triton', 'cpu')


CASES = [(80, 64, 'fp32'), (90, 64, 'bf16'), (90, 128, 'bf16')]


def resources(kernel, arch, channels, groups, dtype, folder, **flags):
    """Registers and stack bytes of a kernel compiled for a GPU of compute capability `arch`."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from votes.ops import fused

    numbers = {'K': 9, 'KW': 3, 'STRIDE': 1, 'PAD': 1, 'DILATION': 1, 'MASKED': True, 'SIGMOID': True}
    numbers |= {'G': groups, 'ROW': 27 * groups, **fused.interleaved_order(groups)}
    constants = (
        numbers | {'PRECISION': 'tf32'} | fused.tile(channels, channels, groups, 4 if dtype == 'fp32' else 2) | flags
    )
    warps = constants.pop('num_warps')
    kinds = {'x_ptr': dtype, 'w_ptr': dtype, 'go_ptr': dtype, 'out_ptr': dtype, 'om_ptr': 'fp32'}
    names = kernel.arg_names
    signature = {
        n: 'constexpr' if n in constants else f'*{kinds.get(n, "fp32")}' if n.endswith('_ptr') else 'i32' for n in names
    }
    even = [i for i, n in enumerate(names) if n.endswith('_ptr') or n in ('C', 'CO')]
    source = ASTSource(
        fn=kernel,
        signature=signature,
        constexprs={(names.index(n),): v for n, v in constants.items()},
        attrs={(i,): [['tt.divisibility', 16]] for i in even},
    )
    compiled = triton.compile(source, target=GPUTarget('cuda', arch, 32), options={'num_warps': warps})
    path = folder / 'kernel.cubin'
    path.write_bytes(compiled.asm['cubin'])
    tool = Path(triton.__file__).parent / 'backends' / 'nvidia' / 'bin' / 'cuobjdump'
    said = subprocess.run([str(tool), '--dump-resource-usage', str(path)], capture_output=True, text=True, check=True)
    loads = set(re.findall(r'ld\.global[.\w]*', compiled.asm['ptx']))
    words = dict(w.split(':', 1) for w in said.stdout.split() if ':' in w and w.split(':', 1)[1].isdigit())
    return int(words['REG']), int(words['STACK']), loads


@pytest.mark.parametrize(
    ('arch', 'channels', 'dtype'), [CASES[0], *(pytest.param(*case, marks=pytest.mark.long) for case in CASES[1:])]
)
def test_compiled_without_spilling(tmp_path, monkeypatch, arch, channels, dtype):
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path / 'cache'))
    from votes.ops import triton_kernels as kernels

    wanted = (
        (kernels.forward_kernel, {'BIAS': True, 'STAT': True}),
        (kernels.backward_data_kernel, {'FIXED': False}),
        (kernels.backward_weight_kernel, {}),
    )
    for kernel, flags in wanted:
        registers, stack, loads = resources(kernel, arch, channels, 8, dtype, tmp_path, **flags)
        assert stack == 0, f'{kernel.__name__} spills {stack} bytes with {registers} registers'
        direct = kernel is not kernels.backward_weight_kernel  # which copies to shared memory asynchronously instead
        assert not direct or any('.v' in load for load in loads), f'{kernel.__name__} loads value by value: {loads}'


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('shape', [(2, 64, 64, 8, 33, 47), (1, 128, 128, 8, 64, 64), (3, 16, 24, 4, 20, 20)])
def test_on_a_gpu(shape, dtype):
    batch, channels, out, groups, height, width = shape
    torch.manual_seed(0)
    tensors = [
        torch.randn(batch, channels, height, width),
        torch.randn(batch, 18 * groups, height, width) * 2,
        torch.rand(batch, 9 * groups, height, width),
        torch.randn(out, channels, 3, 3) / 20,
        torch.randn(out),
    ]
    kinds = [dtype, torch.float32, torch.float32, torch.float32, torch.float32]
    found, expected = (
        [t.to('cuda', kind).requires_grad_() for t, kind in zip(tensors, own, strict=True)]
        for own in (kinds, [torch.float64] * 5)
    )
    result = deform_conv2d(*found, padding=1, backend='triton')
    truth = deform_conv2d(*expected, padding=1, backend='reference')
    weights = torch.randn(truth.shape, device='cuda', dtype=torch.float64)
    grads = torch.autograd.grad((result.double() * weights).sum(), found)
    wanted = torch.autograd.grad((truth * weights).sum(), expected)
    bound = {torch.float32: 2e-3, torch.float16: 3e-3, torch.bfloat16: 2e-2}[dtype]
    for a, b in zip([result, *grads], [truth, *wanted], strict=True):
        assert float((a.double() - b).norm() / b.norm()) < bound


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_twenty_steps_on_a_gpu(monkeypatch):
    from ops.interpreted import training

    monkeypatch.setattr(torch.backends.cuda.matmul, 'allow_tf32', False)
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    monkeypatch.setenv('VOTES_DEFORM_CONV', 'triton')  # put back at the end
    assert max(training(20, 'cuda')) < 1e-4
