"""Networks leave PyTorch: files give the same pictures at sizes that they were not traced at."""

import importlib.util
import logging
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from votes import checkpoint
from votes.archs import build_network
from votes.archs.contract import Clip, Frame, apply, promise
from votes.cli import main
from votes.errors import UserError
from votes.export.graphs import exported, inputs_of, quiet
from votes.export.onnx import write_onnx
from votes.inference.stream import Stream
from votes.inference.views import Views
from votes.ops.deform_conv import deform_conv2d
from votes.ops.exporting import exporting
from votes.registry import NETWORKS

ROOT = Path(__file__).resolve().parents[2]
needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ('onnx', 'onnxruntime', 'onnxscript')),
    reason='the extra `export` is not installed',
)


ONE_RESULT = ('ARCNN', 'STDF', 'EDVR', 'SAN', 'EDSR', 'MFQEv2')  # of a frame or a window
SEVERAL = ('VOTES', 'BasicVSR', 'BasicVSRPlusPlus', 'RealBasicVSR', 'CAVSR', 'OVQE')
SEVERAL += ('FRVSR', 'RSDN', 'DISVSR', 'COMISR', 'RealViformer')  # frame by frame
REFUSED = ('CDAVSR', 'TMP', 'NLSN')


def test_the_page_names_them():
    page = ' '.join((ROOT / 'docs' / 'export.md').read_text().split())
    for names, before in (((*ONE_RESULT, *SEVERAL), 'Tried with small untrained networks:'), (REFUSED, 'Refused:')):
        told = page.partition(before)[2].partition('. ')[0]
        assert set(re.findall(r'\w+', re.sub(r'\(.*?\)', '', told))) == set(names)


def test_only_exporters_are_quiet(caplog):
    inner = logging.getLogger('onnxscript.a.module')
    inner.setLevel(logging.INFO)
    with quiet():
        for name in ('onnxscript.a.module', 'onnxscript.a.new_one', 'of.a.user'):
            logging.getLogger(name).error(name)
    assert caplog.messages == ['of.a.user']
    assert inner.level == logging.INFO


def stored(name, path='net.pth'):
    """A checkpoint of a small network whose deformable convolutions look away from their places."""
    torch.manual_seed(1)
    options = {'type': name, **NETWORKS.get(name).small}
    net = build_network(options).eval()
    with torch.no_grad():
        for key, parameter in net.named_parameters():
            if 'offset' in key:
                parameter.normal_(0, 0.1)
    checkpoint.save({'params': net.state_dict(), 'network_g': options}, path)
    return net


def frames_of(count, size):
    draw = torch.Generator().manual_seed(3)
    coarse = torch.rand(count, 3, size[0] // 8, size[1] // 8, generator=draw)
    return torch.nn.functional.interpolate(coarse, size, mode='bilinear')


def streamed(net, frames):
    """What a stream makes of frames (T, 3, h, w)."""
    stream, known = Stream(net, torch.device('cpu')), {}
    known = {i: {'lq': frame[None]} for i, frame in enumerate(frames)}
    views = Views(stream.said, piece=4).of(range(len(frames)))
    return torch.cat([stream.restore([view], known) for view in views])


@pytest.mark.parametrize('mask', [True, False])
def test_both_forms_of_the_deformable_convolution_are_the_one_that_trains(mask):
    draw = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.randn(*shape, generator=draw)

    tensors = [rand(2, 4, 7, 9), rand(2, 36, 7, 9) * 2, rand(2, 18, 7, 9).sigmoid() if mask else None, rand(6, 4, 3, 3)]
    wanted = deform_conv2d(*tensors, rand(6), padding=1)
    draw.manual_seed(0)
    tensors = [rand(2, 4, 7, 9), rand(2, 36, 7, 9) * 2, rand(2, 18, 7, 9).sigmoid() if mask else None, rand(6, 4, 3, 3)]
    bias = rand(6)
    for form in ('operator', 'grid'):
        with exporting(form):
            torch.testing.assert_close(deform_conv2d(*tensors, bias, padding=1), wanted, rtol=1e-4, atol=1e-4)


@needs_onnx
@pytest.mark.parametrize('name', [*ONE_RESULT[:2], *(pytest.param(n, marks=pytest.mark.long) for n in ONE_RESULT[2:])])
def test_onnx_of_frames_and_windows(name, tmp_path, monkeypatch, capsys):
    from votes.export.runtime import OnnxNetwork

    monkeypatch.chdir(tmp_path)
    net = stored(name)
    assert main(['export', 'net.pth', '--to', 'onnx', '-o', 'net.onnx']) == 0
    assert 'from PyTorch at 80x64 and 48x80' in capsys.readouterr().out
    opened, said = OnnxNetwork('net.onnx'), promise(net)
    assert promise(opened).sees == said.sees
    sample = {'lq': frames_of(said.frames(), (40, 56))[None]}  # neither size that it was tried at
    ours, theirs = (apply(which, sample)['out'] for which in (net, opened))
    assert float((ours - theirs).abs().max()) < 1e-4


@needs_onnx
@pytest.mark.long
def test_the_operator_is_the_standard_one(tmp_path, monkeypatch):
    import onnx

    monkeypatch.chdir(tmp_path)
    stored('STDF')
    kinds = {}
    for form in ('operator', 'grid'):
        assert main(['export', 'net.pth', '--to', 'onnx', '-o', f'{form}.onnx', '--deform', form, '--opset', '19']) == 0
        model = onnx.load(f'{form}.onnx')
        onnx.checker.check_model(model)
        kinds[form] = {node.op_type for node in model.graph.node}
        assert {node.domain for node in model.graph.node} == {''}, 'operators of ONNX alone'
        assert [entry.version for entry in model.opset_import if not entry.domain] == [19]
    assert 'DeformConv' in kinds['operator']
    assert 'DeformConv' not in kinds['grid']
    assert 'GridSample' in kinds['grid']


@needs_onnx
@pytest.mark.long
@pytest.mark.parametrize('name', SEVERAL)
def test_onnx_of_states_and_clips(name, tmp_path, monkeypatch):
    from votes.export.runtime import OnnxNetwork

    monkeypatch.chdir(tmp_path)
    net = stored(name)
    assert main(['export', 'net.pth', '--to', 'onnx', '-o', 'net.onnx', '--frames', '6']) == 0
    frames = frames_of(6, (72, 56))
    if isinstance((said := promise(net)).sees, Clip):
        sample = dict(zip(('lq', *said.inputs), inputs_of(said, 6, (72, 56)), strict=True))
        ours, theirs = (apply(which, sample)['out'] for which in (net, OnnxNetwork('net.onnx')))
    else:
        ours, theirs = streamed(net, frames), streamed(OnnxNetwork('net.onnx'), frames)
    assert float((ours - theirs).abs().max()) < 1e-4


class Shrinking(nn.Module):
    """Frames at sizes that are multiples of 32, rounded up, as networks with SpyNet compute flow."""

    sees = Frame()

    def forward(self, x):
        size = [-(-side // 32) * 32 for side in x.shape[-2:]]
        return F.interpolate(F.interpolate(x, size, mode='bilinear'), x.shape[-2:], mode='bilinear')


@needs_onnx
def test_sizes_are_rounded_as_in_python(tmp_path):
    found = exported(Shrinking(), {'type': 'Shrinking'}, 'operator')
    assert 'from PyTorch at 80x64 and 48x80' in write_onnx(found, tmp_path / 'net.onnx')[0]


@needs_onnx
def test_a_graph_that_gives_other_pictures_is_not_kept(tmp_path):
    found = exported(Shrinking(), {'type': 'Shrinking'}, 'operator')
    found.graphs[0].call.net.forward = lambda x: x + 2e-4
    with pytest.raises(UserError, match='gives other pictures in ONNX'):
        write_onnx(found, tmp_path / 'net.onnx')
    assert not list(tmp_path.iterdir())


@needs_onnx
@pytest.mark.long
def test_restoring_by_onnxruntime(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stored('STDF')
    assert main(['export', 'net.pth', '--to', 'onnx', '-o', 'net.onnx']) == 0
    for i, frame in enumerate(frames_of(5, (48, 64)).permute(0, 2, 3, 1).mul(255).byte().numpy()):
        (tmp_path / 'in').mkdir(exist_ok=True)
        cv2.imwrite(f'in/{i:08d}.png', frame)
    common = ['--device', 'cpu', '--progress', 'none']
    assert main(['restore', 'in', 'torch', '--weights', 'net.pth', *common]) == 0
    assert main(['restore', 'in', 'onnx', '--weights', 'net.onnx', '--runtime', 'onnx', *common]) == 0
    assert main(['restore', 'in', 'no', '--weights', 'net.pth', '--runtime', 'onnx', *common]) == 2
    names = sorted(path.name for path in (tmp_path / 'torch').glob('*.png'))
    assert len(names) == 5
    for name in names:
        pair = [cv2.imread(f'{folder}/{name}').astype(int) for folder in ('torch', 'onnx')]
        assert np.abs(pair[0] - pair[1]).max() <= 1


def test_torch_export_is_read_without_this_project(tmp_path, monkeypatch):
    import json

    monkeypatch.chdir(tmp_path)
    net = stored('STDF')
    assert main(['export', 'net.pth', '--to', 'torch-export', '-o', 'net.pt2']) == 0
    about = {'votes.json': ''}
    program = torch.export.load('net.pt2', extra_files=about).module()
    frames = frames_of(promise(net).frames(), (40, 56))[None]
    with torch.no_grad():
        gap = program(frames) - apply(net, {'lq': frames})['out'][:, 0]
    assert float(gap.abs().max()) < 1e-4
    assert json.loads(about['votes.json'])['network']['type'] == 'STDF'


@pytest.mark.parametrize('name', REFUSED)
def test_what_cannot_be_exported_says_so_and_no_more(name, capfd):
    options = {'type': name, **NETWORKS.get(name).small}
    with pytest.raises(UserError, match=f'{name} cannot be exported'):
        exported(build_network(options), options, 'grid')
    assert capfd.readouterr() == ('', '')


def test_what_is_written_is_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    stored('ARCNN')
    (tmp_path / 'there.onnx').write_text('x')
    for arguments, text in (
        (['--to', 'onnx', '-o', 'there.onnx'], 'the output exists'),
        (['--to', 'onnx', '-o', 'net.pt'], 'ends in .onnx'),
        (['--to', 'torch-export', '-o', 'net.onnx'], 'ends in .pt2'),
        (['--to', 'onnx', '-o', 'net.onnx', '--frames', '0'], 'a clip has frames'),
    ):
        assert main(['export', 'net.pth', *arguments]) == 2
        assert text in capsys.readouterr().err
    assert (tmp_path / 'there.onnx').read_text() == 'x'


def test_trials_have_what_a_network_reads():
    cavsr = promise(build_network({'type': 'CAVSR', **NETWORKS.get('CAVSR').small}))
    values = inputs_of(cavsr, 3, (16, 24))
    assert [tuple(value.shape) for value in values[:2]] == [(1, 3, 3, 16, 24), (1, 3, 2, 16, 24)]
    assert len(values) == 1 + len(cavsr.inputs)
