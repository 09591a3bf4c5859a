"""`votes zoo`: what is counted is right where it can be counted by hand, and docs/zoo.md says what the classes say."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from votes.archs.contract import Causal, Clip, Frame, Window
from votes.cli import main
from votes.commands import leaderboard, zoo
from votes.commands.counting import CLIP, cost_of
from votes.inference.tiles import LiveBytes
from votes.ops import deform_conv2d
from votes.ops.deform_conv import counted_by_shape
from votes.registry import NETWORKS

ROOT = Path(__file__).resolve().parents[2]
SIZE = (20, 30)
CONV = 2 * 9 * 3 * 3 * 20 * 30  # of a 3x3 convolution from three channels to three
FRAME = 4 * 3 * 20 * 30  # bytes


class OneConv(nn.Module):
    sees = Frame()

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(x)


class OfWindows(OneConv):
    sees = Window(3)

    def forward(self, x):
        return sum(self.conv(frame) for frame in x.unbind(1))


class OfClips(OneConv):
    sees = Clip()

    def forward(self, x):
        return self.conv(x.flatten(0, 1)).view_as(x)


class OfSteps(OneConv):
    """Its first step costs more than the others."""

    sees = Causal(look_ahead=1)

    def step(self, frames, state):
        state = self.conv(self.conv(frames[:, 0])) if state is None else state
        return self.conv(frames[:, 1]) + state, state


class LooksAtValues(OneConv):
    def forward(self, x):
        return self.conv(x) if float(x.mean()) > 0 else x


@pytest.mark.parametrize(
    ('cls', 'flops', 'peak', 'of'),
    [
        (OneConv, CONV, FRAME, 'a frame'),
        (OfWindows, 3 * CONV, 3 * FRAME, 'a window of 3 frames'),
        (OfClips, CONV, CLIP * FRAME, f'a clip of {CLIP} frames'),
        (OfSteps, CONV, 3 * FRAME, 'a step'),
        (LooksAtValues, CONV, FRAME, 'a frame'),
    ],
)
def test_a_network_that_is_counted_by_hand(cls, flops, peak, of, monkeypatch):
    monkeypatch.setitem(NETWORKS.table, 'Counted', f'{__name__}:{cls.__name__}')
    monkeypatch.setitem(sys.modules, __name__, sys.modules[cls.__module__])
    cost = cost_of({'type': 'Counted'}, SIZE)
    assert cost.scaled == (cls is LooksAtValues)
    assert (cost.flops, cost.of) == (pytest.approx(flops), of)
    assert cost.peak_bytes == pytest.approx(peak, rel=1e-3)


@pytest.mark.parametrize('masked', [True, False])
def test_deformable_convolutions_by_shape(masked, monkeypatch):
    """The arithmetic and the memory of computing it, of many chunks: 6 images of 8 channels in 2 groups."""
    monkeypatch.delenv('VOTES_DEFORM_CONV', raising=False)
    x, weight, bias = torch.randn(6, 8, 96, 80), torch.randn(16, 8, 3, 3), torch.randn(16)
    offset, mask = torch.randn(6, 36, 96, 80), torch.rand(6, 18, 96, 80) if masked else None
    found = []
    for by_shape in (False, True):
        with torch.no_grad(), FlopCounterMode(display=False) as flops, LiveBytes() as alive:
            if by_shape:
                with counted_by_shape():
                    out = deform_conv2d(x, offset, mask, weight, bias, padding=1)
            else:
                out = deform_conv2d(x, offset, mask, weight, bias, padding=1)
        found.append((flops.get_total_flops(), out.shape, alive.most))
    (counted, shape, peak), (by_shape, shape_alone, peak_alone) = found
    assert counted == by_shape == 2 * 16 * 8 * 9 * 6 * 96 * 80
    assert shape == shape_alone
    assert peak_alone == pytest.approx(peak, rel=1e-3)


def test_what_the_command_says(capsys):
    assert main(['zoo', 'BIN', 'SpyNet', '--json']) == 0
    told = {entry['name']: entry for entry in json.loads(capsys.readouterr().out)}
    assert told['SpyNet']['parameters'] == 1440300
    assert 'cost' not in told['SpyNet']
    assert told['BIN']['cost']['of'] == 'a window of 5 frames'
    assert 'options/train/BIN/train_BIN_demo.yml' in told['BIN']['files']
    assert main(['zoo', 'ARCNN']) == 0
    assert '0.118 M parameters; at 960x540, x1: 121.9 GFLOP a frame' in capsys.readouterr().out
    assert main(['zoo', 'ARCNNN']) == 2
    assert main(['zoo', 'ARCNN', '--write', 'zoo.md']) == 2


def test_the_page_is_not_out_of_date():
    """All that is not counted frame by frame. Made anew by `votes zoo --write docs/zoo.md`."""
    lines = (ROOT / 'docs' / 'zoo.md').read_text().splitlines()
    for entry in zoo.described(NETWORKS.names(), count=False):
        if entry.said is None:
            assert zoo.part_row(entry) in lines
            continue
        assert zoo.seen_row(entry) in lines
        assert zoo.made_with_row(entry) in lines
        assert any(line.startswith(zoo.counted_start(entry)) for line in lines), entry.name
    assert leaderboard.section(leaderboard.kept(ROOT)) in '\n'.join(lines)


def test_the_leaderboard():
    """The largest gain first, then bicubic; what was not run is named, what was not measured is a dash."""

    def row(label, gain, **more):
        interval = {'psnr': {'value': gain, 'low': gain - 0.1, 'high': gain + 0.1, 'seeds': 3, 'clips': 8}}
        sides = {'with': {'psnr': 30 + gain, 'ssim': 0.9}, 'without': {'psnr': 30.0, 'ssim': 0.85}}
        found = {'label': label, 'ours': {'psnr': gain}, 'sides': sides, 'cost': {'parameters': 3e5, 'steps': 1234}}
        return {'row': {}, **found, 'interval': interval | more.pop('interval', {}), **more}

    worst = {'value': 1e-5, 'low': -2e-5, 'high': 4e-5}
    speed = {
        'parameters': 2e5,
        'steps': 5,
        'frames_per_second': 12.34,
        'warping_error_bicubic': 4e-4,
        'peak_bytes': 3 * 2**20,
    }
    rows = [
        row('A', -0.25),
        row('B', 0.5, interval={'warping_error': worst}, cost=speed, row={'costs': ['s', 't', 'u']}),
    ]
    rows.append({'label': 'C', 'ours': {}, 'reason': 'no memory'})
    training = [{'iter': 100, 'cpu_seconds': 0.2}, {'iter': 300, 'cpu_seconds': 0.2}]
    speeds = {
        job: {'state': 'done', 'costs': {'a': {'frames_per_second': rate}}} for job, rate in (('s', 10), ('t', 14))
    }
    study = {
        'title': 'Title',
        'command': 'votes reproduce zoo',
        'notes': ['a note'],
        'machine': {'cpu': 'a CPU', 'threads': 1, 'torch': '2'},
        'rows': rows,
        'runs': {
            'B_0': {'state': 'done', 'training': training, 'options': {'train.total_iter': 350}},
            'test_B_0': {'state': 'done'},
            **speeds,
        },
    }
    lines = leaderboard.section(study).splitlines()
    assert lines[-3:] == [
        '| B | +0.500 [+0.400, +0.600] | 30.50 | 0.9000 | +0.010 [-0.020, +0.040] | 12.0 (10.0 to 14.0) | 3 | 0.200 '
        '| 5 | 3 x 8 |',
        '| A | -0.250 [-0.350, -0.150] | 29.75 | 0.9000 | - | - | - | 0.300 | 1,234 | 3 x 8 |',
        '| bicubic interpolation | 0 | 30.00 | 0.8500 | 0 (0.400) | - | - | 0 | 0 | - |',
    ]
    assert {'- a note', '- Not run: C (no memory).'} <= set(lines)
    assert '70 to 70 seconds of the processor' in ' '.join(lines)
