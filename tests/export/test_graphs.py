"""Networks leave PyTorch: files give the same pictures at sizes that they were not traced at."""

import importlib.util
import logging
import os
import re
import sys
import threading
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from votes import checkpoint
from votes.archs import build_network
from votes.archs.contract import Frame, apply, promise
from votes.cli import main
from votes.errors import UserError
from votes.export.graphs import exported, inputs_of, quiet
from votes.export.onnx import write_onnx
from votes.ops.deform_conv import deform_conv2d
from votes.ops.exporting import exporting
from votes.registry import NETWORKS

ROOT = Path(__file__).resolve().parents[2]
needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ('onnx', 'onnxruntime', 'onnxscript')),
    reason='the extra `export` is not installed',
)


WHOLE = [name for name in NETWORKS.names() if getattr(NETWORKS.get(name), 'sees', True) is not None]
QUICK = ('ARCNN', 'ByQuantiser', 'CDAVSR')  # a frame, a choice between networks, a refusal
ONE_OF_EACH = ('ASTF', 'BasicVSR', 'EDVR', 'FRVSR', 'MFQEv2', 'RSDN', 'STDF', 'VOTES')
ALL = bool(os.environ.get('VOTES_EXPORT_ALL'))  # takes most of an hour


def when(name):
    """The quick tests try three networks, all tests one of each kind, VOTES_EXPORT_ALL=1 every one."""
    left_out = pytest.mark.skipif(not ALL and name not in ONE_OF_EACH, reason='VOTES_EXPORT_ALL=1 exports all')
    return pytest.param(name, marks=() if name in QUICK else (pytest.mark.long, left_out))


def test_the_page_names_those_that_cannot():
    told = re.findall(r'^- ([\w, ]+): (.+)$', (ROOT / 'docs' / 'export.md').read_text(), re.M)
    reasons = {name: reason for names, reason in told for name in names.split(', ')}
    known = {name: getattr(NETWORKS.get(name), 'no_graph', '') for name in WHOLE}
    assert reasons == {name: reason for name, reason in known.items() if reason}


def test_only_exporters_are_quiet(caplog, capsys):
    inner = logging.getLogger('onnxscript.a.module')
    inner.setLevel(logging.INFO)
    other = threading.Thread(target=print, args=['of another thread'], kwargs={'file': sys.stderr})
    with warnings.catch_warnings(record=True) as warned, quiet():
        warnings.warn_explicit('of a user', UserWarning, 'a.py', 1, module='a')
        warnings.warn_explicit('of an exporter', UserWarning, 'b.py', 1, module='torch.export')
        print('of an exporter', file=sys.stderr)
        other.start()
        other.join()
        for name in ('onnxscript.a.module', 'onnxscript.a.new_one', 'of.a.user'):
            logging.getLogger(name).error(name)
    assert caplog.messages == ['of.a.user']
    assert [str(warning.message) for warning in warned] == ['of a user']
    assert capsys.readouterr().err == 'of another thread\n'
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


def exported_file(net, said, to, capfd):
    """What a network was exported to, which its file runs; None where it says why there is none."""
    suffix = {'onnx': 'onnx', 'torch-export': 'pt2'}[to]
    frames = str(said.frames(2))
    code = main(['export', 'net.pth', '--to', to, '-o', f'net.{suffix}', '--frames', frames])
    told = capfd.readouterr()
    if getattr(net, 'no_graph', ''):
        expected = f'error: {said.name} cannot be exported\n  value: {net.no_graph}\n  fix  : '
        assert (code, told.out, told.err.startswith(expected), told.err.count('\n')) == (2, '', True, 3)
        return None
    assert (code, told.err) == (0, '')
    assert to != 'onnx' or re.search(r'from PyTorch at \d+x\d+ and \d+x\d+', told.out)
    return f'net.{suffix}'


@needs_onnx
@pytest.mark.timeout(1800)
@pytest.mark.parametrize('name', map(when, WHOLE))
def test_a_registered_network_leaves_pytorch(name, tmp_path, monkeypatch, capfd):
    """ONNX and torch.export compare with PyTorch at two sizes while they write; here onnxruntime is at a third."""
    from votes.export.runtime import OnnxNetwork

    monkeypatch.chdir(tmp_path)
    net = stored(name)
    said = promise(net)
    assert main(['export', 'net.pth', '--to', 'safetensors', '-o', 'net.safetensors']) == 0
    read = checkpoint.read_safetensors('net.safetensors')
    assert all(torch.equal(value, read[key]) for key, value in net.state_dict().items())
    capfd.readouterr()
    exported_file(net, said, 'torch-export', capfd)
    file = exported_file(net, said, 'onnx', capfd)
    if file:
        opened = OnnxNetwork(file)
        assert (promise(opened).sees, promise(opened).scale) == (said.sees, said.scale)
        side = -(-max(opened.smallest, 40) // said.multiple) * said.multiple
        values = inputs_of(said, said.frames(2), (side, side + 2 * said.multiple))
        if isinstance(said.sees, Frame):
            values = [value.unsqueeze(1) for value in values]
        sample = dict(zip(('lq', *said.inputs), values, strict=True))
        with torch.no_grad():
            ours, theirs = (apply(which, sample)['out'] for which in (net.eval(), opened.eval()))
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


class Shrinking(nn.Module):
    """Frames at sizes that are multiples of 32, rounded up, as networks with SpyNet compute flow."""

    sees = Frame()

    def forward(self, x):
        size = [-(-side // 32) * 32 for side in x.shape[-2:]]
        return F.interpolate(F.interpolate(x, size, mode='bilinear'), x.shape[-2:], mode='bilinear')


@needs_onnx
def test_sizes_are_rounded_as_in_python(tmp_path):
    found = exported(Shrinking(), {'type': 'Shrinking'}, 'operator')
    assert 'from PyTorch at 80x64 and 96x80' in write_onnx(found, tmp_path / 'net.onnx')[0]


@needs_onnx
def test_a_graph_that_gives_other_pictures_is_not_kept(tmp_path):
    found = exported(Shrinking(), {'type': 'Shrinking'}, 'operator')
    found.graphs[0].call.net.forward = lambda x: x + 2e-4
    with pytest.raises(UserError, match='gives other pictures'):
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


class Asking(nn.Module):
    """Its course depends on values."""

    sees = Frame()

    def forward(self, x):
        return x / 2 if bool(x.mean() > 0.5) else x


def test_what_cannot_be_exported_says_so_and_no_more(capfd):
    with pytest.raises(UserError, match=r'Asking cannot be exported\n  value: its course depends on what it is'):
        exported(Asking(), {'type': 'Asking'}, 'grid')
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
