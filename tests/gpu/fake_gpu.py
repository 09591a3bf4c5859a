"""A CUDA device that holds no values: what runs on it has the devices and types that a GPU would show, and is refused
what a GPU refuses (tensors of two devices, types that do not go together). What asks it for a value is noticed.

A torch that was built without CUDA gets no_gpu.cpp first, in a process of its own, before it is imported.
"""

import contextlib
import ctypes
import importlib.util
import subprocess
import tempfile
import traceback
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / 'votes'


def of_package(stack):
    """The frames of a stack that are the project's own, wherever it was cloned to."""
    return [frame for frame in stack if PACKAGE in Path(frame.filename).parents]


def pretend(compiler='c++'):
    """Makes and loads the device that does nothing; torch must not have been imported."""
    root = Path(importlib.util.find_spec('torch').submodule_search_locations[0])
    if (root / 'lib' / 'libtorch_cuda.so').exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, 'no_gpu.so')
        flags = ['-O0', '-w', '-std=c++20', '-shared', '-fPIC', f'-I{root}/include', f'-L{root}/lib']
        files = [str(Path(__file__).with_name('no_gpu.cpp')), '-o', str(library), '-lc10', '-ltorch_cpu']
        subprocess.run([compiler, *flags, *files, f'-Wl,-rpath,{root}/lib'], check=True)
        ctypes.CDLL(str(library))


pretend()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

GPU = torch.device('cuda', 0)
FREE = 80 * 2**30
real_numpy, real_generator = torch.Tensor.numpy, torch.Generator

PRODUCTS = {
    getattr(torch.ops.aten, name).default
    for name in (
        *('convolution', 'convolution_backward', 'mm', 'addmm', 'bmm', 'baddbmm'),
        *('grid_sampler_2d', 'grid_sampler_2d_backward'),
    )
}


class Watch(TorchDispatchMode):
    """Notices who waits for the device: copies to the CPU and values that Python asks for (which are 1 here).

    Attributes:
        waits: file and function of votes in which that happened.
    """

    def __init__(self):
        super().__init__()
        self.waits = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        aten = torch.ops.aten
        if function is aten._local_scalar_dense.default:
            if args[0].device == GPU:
                self._note()
            return {torch.bool: True}.get(args[0].dtype, 1.0 if args[0].is_floating_point() else 1)
        if function is aten._to_copy.default and args[0].device == GPU and str(kwargs.get('device')) == 'cpu':
            self._note()
        if function in (aten.cat.default, aten.stack.default):  # which FakeTensorMode lets pass
            devices = {leaf.device for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)}
            if len(devices) > 1:
                raise RuntimeError(f'{function} of tensors on {devices}')
        if function in PRODUCTS:  # of which shapes alone are looked at where there are no values
            types = {leaf.dtype for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)}
            if len(types) > 1:
                raise RuntimeError(f'{function} of {types}')
        return function(*args, **kwargs)

    def _note(self):
        frame = of_package(traceback.extract_stack())[-1]
        self.waits.add(f'{Path(frame.filename).relative_to(PACKAGE)}:{frame.name}')


def _apply(module, function, recurse=True):
    """nn.Module._apply without swapping tensors in place, which tensors without values do not allow."""
    done = {}

    def moved(tensor):
        if id(tensor) not in done:
            with torch.no_grad():
                new = function(tensor)
            parameter = isinstance(tensor, nn.Parameter)
            done[id(tensor)] = tensor, nn.Parameter(new, tensor.requires_grad) if parameter else new
        return done[id(tensor)][1]

    for inner in module.modules():
        for held in (inner._parameters, inner._buffers):
            held.update({name: moved(tensor) for name, tensor in held.items() if tensor is not None})
    return module


def _numpy(tensor, *, force=False):
    """Zeros for what has no values; refused, as of a GPU, for what was not fetched."""
    if not isinstance(tensor, FakeTensor):
        return real_numpy(tensor, force=force)
    if tensor.device.type != 'cpu':
        raise TypeError(f"can't convert {tensor.device} device type tensor to numpy")
    return np.zeros(tensor.shape, np.dtype(str(tensor.dtype).removeprefix('torch.')))


@contextlib.contextmanager
def fake_gpu(patch, backend):
    """Inside, tensors have no values and GPU is there; gives the Watch.

    Args:
        patch: a pytest.MonkeyPatch.
        backend: of the deformable convolution.
    """
    one_thread = torch.autograd.set_multithreading_enabled(False)
    with patch.context() as here, one_thread, FakeTensorMode(allow_non_fake_inputs=True), Watch() as watch:
        here.setattr(nn.Module, '_apply', _apply)
        here.setattr(torch.Tensor, 'numpy', _numpy)
        here.setattr(torch, 'Generator', lambda device=None: real_generator())  # those of a GPU come with CUDA
        here.setattr('torch.cuda.amp.common.amp_definitely_not_available', lambda: False)  # else autocast is off
        here.setattr(torch.cuda, 'is_bf16_supported', lambda *args: True)
        here.setattr(torch.cuda, 'mem_get_info', lambda device=None: (FREE, FREE))
        here.setattr(torch.cuda, 'max_memory_allocated', lambda device=None: 0)
        here.setattr(torch.cuda, 'empty_cache', lambda: None)
        here.setattr('votes.ops.deform_conv.backend_problem', lambda name, device_type: None)
        here.setenv('VOTES_DEFORM_CONV', backend)
        yield watch
