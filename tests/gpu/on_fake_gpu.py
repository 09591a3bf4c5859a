"""Run by test_fake_gpu.py in a process of its own: networks train and restore on a GPU without values.

    python on_fake_gpu.py NAME ...              # a step, and frames through a stream
    python on_fake_gpu.py --programs NAME ...   # an evaluation, and a video file

With --strict before the names, it is looked first whether the device refuses what a GPU refuses.

Prints a line of JSON for each: network -> case -> what went wrong (None where nothing did), and who waited for the
device.
"""

import json
import sys
import tempfile
import traceback
from pathlib import Path

from fake_gpu import GPU, fake_gpu, of_package  # first: before torch is imported

# isort: split
import pytest
import torch
from networks import network_options, training

from votes.archs import build_network
from votes.archs.contract import Causal, Window, promise
from votes.commands.check_network import TALL, build, length_of, sample_for
from votes.commands.trial_run import write_data
from votes.data import VideoUVSSMTestDataset
from votes.inference.evaluation import evaluate
from votes.inference.stream import Stream
from votes.inference.tiles import Limits
from votes.inference.views import Views
from votes.models import build_model
from votes.options import Spec
from votes.processes import distributed
from votes.restore import restore_video

TRAINED = (('none', 'triton'), ('bf16', 'triton'), ('fp16', 'torch'))  # precision, backend
RESTORED = (('none', None), ('bf16', 64))  # precision, side of tiles


def no_rank(*flags, device):
    """`distributed.any_rank`, the one place where a step waits."""
    wrong = [flag.device for flag in flags if isinstance(flag, torch.Tensor) and flag.device != device]
    assert not wrong, f'decided on {wrong}'
    return [False for _ in flags]


def trains(patch, name, amp, backend):
    """A step, with gain; returns who waited besides the decision of all ranks."""
    _, opt, batch = training(name, amp)
    with fake_gpu(patch, backend) as watch:
        model = build_model(opt, GPU)
        watch.waits.clear()
        outcome = model.step(batch, 1, want_gain=True)
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


def validates(patch, name):
    """The evaluation of a test set, as it runs between steps of a training; returns who waited."""
    said, opt, _ = training(name, 'bf16')
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder), said.scale)
        roots = {f'dataroot_{kind}': f'{folder}/{kind}' for kind in ('gt', 'lq')}
        frames = {'num_frame': said.frames()} if isinstance(said.sees, Window) else {}
        dataset = VideoUVSSMTestDataset(**roots, **frames, scale=said.scale)
        with fake_gpu(patch, 'triton') as watch:
            model = build_model(opt, GPU)
            watch.waits.clear()
            metrics = {'psnr': Spec(type='calculate_psnr', crop_border=2)}
            found = evaluate(model, dataset, 'fake', metrics)
        assert len(found.frames) == len(dataset)
        return sorted(watch.waits)


def restores_a_video(patch, name):
    """`votes restore` from a file to a file; returns who waited."""
    said = promise(build_network(network_options(name)))
    with tempfile.TemporaryDirectory() as folder, patch.context() as here:
        write_data(Path(folder), said.scale)
        here.setattr('votes.restore.video.ahead', lambda items, count: items)  # tensors without values are of a thread
        with fake_gpu(patch, 'triton') as watch:
            net = build(network_options(name))
            watch.waits.clear()
            summary = restore_video(net, f'{folder}/video.mp4', f'{folder}/out.mp4', device=GPU, progress='none')
        assert Path(folder, 'out.mp4').is_file()
        assert summary.frames > 0
        return sorted(watch.waits)


def cases_of(name):
    """What a network goes through: what it is called, the function, its arguments."""
    cases = [(f'training, {amp}, {backend}', trains, amp, backend) for amp, backend in TRAINED]
    if promise(build_network(network_options(name))).restores:
        cases += [(f'restoring, {amp}, tiles of {tile}', restores, amp, tile) for amp, tile in RESTORED]
    return cases


def check_strict(patch):
    """Tensors of two devices, types that do not go together, and values that Python asks for do not pass unseen."""
    with fake_gpu(patch, 'torch'):
        here, there = torch.ones(2), torch.ones(2, device=GPU)
        for wrong in (
            lambda: here + there,
            lambda: torch.cat((here, there)),
            lambda: torch.stack((there, here)),
            lambda: torch.nn.functional.linear(there.half(), torch.ones(2, 2, device=GPU)),
            lambda: there.numpy(),
        ):
            with pytest.raises((RuntimeError, TypeError)):
                wrong()
        layer = torch.nn.Conv2d(2, 2, 1).to(GPU)
        with torch.autocast('cuda', torch.bfloat16):
            out = layer(torch.ones(1, 2, 3, 3, device=GPU))
        out.float().sum().backward()
        assert (out.dtype, layer.weight.grad.dtype) == (torch.bfloat16, torch.float32)
        assert layer.weight.grad.device == GPU


def main(names):
    patch = pytest.MonkeyPatch()
    if names[0] == '--strict':
        check_strict(patch)
        names = names[1:]
    patch.setattr(distributed, 'any_rank', no_rank)
    programs = [('validation', validates), ('a video', restores_a_video)] if names[0] == '--programs' else []
    for name in names[bool(programs) :]:
        cases = programs or cases_of(name)
        said = {}
        for case, run, *how in cases:
            try:
                said[case] = {'problem': None, 'waits': run(patch, name, *how)}
            except Exception as error:
                inside = of_package(traceback.extract_tb(error.__traceback__))
                place = f'{inside[-1].filename}:{inside[-1].lineno}' if inside else 'the test'
                text = ' '.join(str(error).split())[:300]
                said[case] = {'problem': f'{type(error).__name__}: {text} at {place}', 'waits': []}
        print(json.dumps({name: said}), flush=True)


if __name__ == '__main__':
    main(sys.argv[1:])
