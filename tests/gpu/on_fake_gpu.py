"""Run by test_fake_gpu.py in a process of its own: networks train and restore on a GPU without values.

    python on_fake_gpu.py NAME ...

Prints a line of JSON for each: network -> case -> what went wrong (None where nothing did), and who waited for the
device.
"""

import json
import sys
import tempfile
import traceback
from pathlib import Path

from fake_gpu import GPU, fake_gpu  # first: before torch is imported

# isort: split
import pytest
import torch
import yaml

from votes.archs import build_network
from votes.archs.contract import Causal, promise
from votes.commands.check_network import TALL, build, length_of, sample_for
from votes.inference.stream import Stream
from votes.inference.tiles import Limits
from votes.inference.views import Views
from votes.models import build_model
from votes.options import load_options
from votes.processes import distributed
from votes.registry import NETWORKS

TRAINED = (('none', 'triton'), ('bf16', 'triton'), ('fp16', 'torch'))  # precision, backend
RESTORED = (('none', None), ('bf16', 64))  # precision, side of tiles


def network_options(name):
    return {'type': name, **getattr(NETWORKS.get(name), 'small', {})}


def options(name, said, side, amp):
    """Options of a training, without files."""
    roots = {'dataroot_gt': 'gt', 'dataroot_lq': 'lq', 'codec_metadata': 'metadata'}
    trained = bool(getattr(build_network(network_options(name)), 'trained_before', ()))
    content = {
        'name': name,
        'model_type': 'RestorationModel',
        'scale': said.scale,
        'num_gpu': 1,
        'datasets': {'train': {'type': 'UVSSMDataset', **roots, 'gt_size': side * said.scale}},
        'network_g': network_options(name),
        'path': {'pretrain_network_g': 'an_earlier_stage.pth'} if trained else {},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': 1e-4},
            'total_iter': 2,
            'pixel_opt': {'type': 'CharbonnierLoss'},
            'amp': amp,
            'grad_clip': 1,
        },
        'logger': {},
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f'{name}.yml')
        file.write_text(yaml.safe_dump(content))
        found = load_options(file, 'train', check_paths=False)
    found.path.pretrain_network_g = None
    return found


def no_rank(*flags, device):
    """`distributed.any_rank`, the one place where a step waits."""
    wrong = [flag.device for flag in flags if isinstance(flag, torch.Tensor) and flag.device != device]
    assert not wrong, f'decided on {wrong}'
    return [False for _ in flags]


def trains(patch, name, amp, backend):
    """A step, with gain; returns who waited besides the decision of all ranks."""
    said = promise(build_network(network_options(name)))
    side = -(-max(16, said.smallest) // said.multiple) * said.multiple
    opt, count = options(name, said, side, amp), length_of(said)
    with fake_gpu(patch, backend) as watch:
        model = build_model(opt, GPU)
        sample = sample_for(said, count, (side, side))
        sample['lq'] = (sample['lq'] * 255).byte()
        sample['gt'] = torch.zeros(1, count, 3, side * said.scale, side * said.scale, dtype=torch.uint8)
        watch.waits.clear()
        outcome = model.step(sample, 1, want_gain=True)
        for term, value in {**outcome.terms, 'gain': outcome.gain}.items():
            assert (value.device, value.dtype) == (GPU, torch.float32), f'{term} is {value.dtype} on {value.device}'
        unlike = [n for n, p in model.net.named_parameters() if p.grad is not None and p.grad.device != GPU]
        assert not unlike, f'gradients of {unlike} are elsewhere'
        return sorted(watch.waits)


def restores(patch, name, amp, tile):
    """Frames through a stream; returns who waited."""
    with fake_gpu(patch, 'triton') as watch:
        net = build(network_options(name)).to(GPU).eval()
        said = promise(net)
        count = 3 if isinstance(said.sees, Causal) else length_of(said)
        sample = {key: value.to(GPU) for key, value in sample_for(said, count, TALL).items()}
        frames = {i: {key: value[:, i] for key, value in sample.items()} for i in range(count)}
        stream = Stream(net, GPU, amp, Limits(tile=tile))
        watch.waits.clear()
        for view in Views(said, peak=lambda number: number % 2 == 0).of(range(count)):
            with torch.no_grad():  # inference mode takes composite operators apart where no Watch sees it
                out = Stream.restore.__wrapped__(stream, [view], frames)
            assert (out.device, out.dtype) == (GPU, torch.float32), f'a frame is {out.dtype} on {out.device}'
            assert out.shape[2:] == (TALL[0] * said.scale, TALL[1] * said.scale)
        return sorted(watch.waits)


def main(names):
    patch = pytest.MonkeyPatch()
    patch.setattr(distributed, 'any_rank', no_rank)
    for name in names:
        cases = [(f'training, {amp}, {backend}', trains, amp, backend) for amp, backend in TRAINED]
        if promise(build_network(network_options(name))).restores:
            cases += [(f'restoring, {amp}, tiles of {tile}', restores, amp, tile) for amp, tile in RESTORED]
        said = {}
        for case, run, *how in cases:
            try:
                said[case] = {'problem': None, 'waits': run(patch, name, *how)}
            except Exception as error:
                stack = traceback.extract_tb(error.__traceback__)
                inside = [frame for frame in stack if '/votes/' in frame.filename and '/tests/' not in frame.filename]
                place = f'{inside[-1].filename}:{inside[-1].lineno}' if inside else 'the test'
                text = ' '.join(str(error).split())[:300]
                said[case] = {'problem': f'{type(error).__name__}: {text} at {place}', 'waits': []}
        print(json.dumps({name: said}), flush=True)


if __name__ == '__main__':
    main(sys.argv[1:])
