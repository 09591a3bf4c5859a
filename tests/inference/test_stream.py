"""What is computed once for several windows, in tiles, in half precision or as an ensemble, against plain windows."""

import pytest
import torch
from restore.clips import Enlarge, Identity, small_network

from votes.archs.contract import Causal, Clip, Promise, Window, apply, promise, run_causal
from votes.archs.edvr_arch import EDVR
from votes.archs.fields import turned, turned_back
from votes.archs.parts.blocks import compile_blocks
from votes.archs.votes_arch import VOTES
from votes.archs.windows import CUT
from votes.checkpoint import copied, load, save
from votes.errors import UserError
from votes.inference.ensemble import Ensemble, parse_ensemble
from votes.inference.stream import Stream, fit, precision_gap
from votes.inference.tiles import Limits, bytes_per_pixel, fitting_tile, tiles
from votes.inference.views import View, Views, groups

CPU = torch.device('cpu')


def clip(length, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {i: {'lq': torch.rand(1, 3, height, width, generator=generator)} for i in range(length)}


def windows_of(length, sees=Window(5), **how):
    return list(Views(Promise('net', sees), **how).of(range(length)))


def streamed(net, frames, windows, **limits):
    stream = Stream(net, CPU, limits=Limits(**limits))
    batches = groups(windows, limits.get('batch', 1), 1000)
    outputs = [stream.restore(g, {i: frames[i] for w in g for i in w.indices}) for g in batches]
    return torch.cat(outputs), stream


def shown(frames, window):
    return torch.cat([frames[i]['lq'] for i in window.indices]).unsqueeze(0)


@torch.inference_mode()
def plain(net, frames, windows):
    return torch.cat([apply(net, {'lq': shown(frames, w)})['out'][0] for w in windows])


@pytest.mark.parametrize('kind', [VOTES, EDVR])
def test_streaming_is_forward_bit_for_bit(kind):
    net, frames, windows = small_network(kind), clip(11, 36, 44), windows_of(11)
    output, stream = streamed(net, frames, windows)
    assert torch.equal(output, plain(net, frames, windows))
    assert stream.memory.features == 11, 'once a frame, not once a window'
    if kind is VOTES:
        assert stream.memory.pairs.count == 13, 'at the ends padding makes other pairs'
    assert len(stream.memory.pyramids) <= 5


@pytest.mark.parametrize('kind', [VOTES, EDVR])
def test_batches_of_windows(kind):
    net, frames, windows = small_network(kind), clip(11, 36, 44), windows_of(11)
    output, _ = streamed(net, frames, windows, batch=4)
    assert (output - plain(net, frames, windows)).abs().max() < 1e-5


def test_a_dfm_that_is_switched_off():
    net, frames, windows = small_network(dfm=False), clip(6, 16, 16), windows_of(6)
    assert torch.equal(streamed(net, frames, windows)[0], plain(net, frames, windows))


@pytest.mark.parametrize('kind', [VOTES, EDVR])
def test_tiles_are_close_to_the_whole(kind):
    """Deformable convolutions of random weights look far: a pixel differs by a level, all of them by much less."""
    net = small_network(kind, with_tsa=False) if kind is EDVR else small_network()
    frames, windows = clip(5, 68, 100), windows_of(5)[2:3]
    whole = plain(net, frames, windows)
    output, _ = streamed(net, frames, windows, tile=64, overlap=48)
    assert output.shape == whole.shape
    assert (output - whole).abs().max() < 1.5 / 255
    assert (output - whole).abs().mean() < 0.05 / 255
    alone, _ = streamed(net, frames, windows, tile=64, overlap=0)
    assert (alone - whole).abs().max() > (output - whole).abs().max(), 'overlap helps'


def test_a_flat_region_has_no_seam():
    net, windows = small_network(), windows_of(5)
    frames = {i: {'lq': torch.full((1, 3, 96, 160), 0.5)} for i in range(5)}
    frames[2]['lq'][..., 70:, :30] += 0.1 * torch.rand(26, 30)  # a corner with damage: the map's largest value is there
    output, _ = streamed(net, frames, windows[2:3], tile=64, overlap=32)
    flat = output[..., 40:100, 140:260]  # across borders of tiles; two pixel shuffles repeat with a period of four
    assert (flat[..., 4:] - flat[..., :-4]).abs().max() < 0.5 / 255
    assert (flat[..., 4:, :] - flat[..., :-4, :]).abs().max() < 0.5 / 255


def test_the_map_of_tiles_is_that_of_the_whole_frame(monkeypatch):
    net, frames, windows = small_network(), clip(5, 64, 96), windows_of(5)
    seen = []
    monkeypatch.setattr(net, 'fuse', lambda aligned, dfm: seen.append(dfm) or VOTES.fuse(net, aligned, dfm))
    streamed(net, frames, windows[2:3], tile=32, overlap=8)
    whole = net.degradation_map(shown(frames, windows[2]))
    for tile, part in zip(tiles(64, 96, 32, 8, 4), seen, strict=True):
        assert torch.equal(part, tile.of(whole))


@pytest.mark.parametrize(
    ('height', 'width', 'side', 'overlap'), [(64, 96, 32, 8), (36, 200, 64, 32), (100, 100, 60, 0)]
)
def test_tiles_cover_the_frame(height, width, side, overlap):
    covered = torch.zeros(height, width)
    for tile in tiles(height, width, side, overlap, 4):
        part = tile.of(covered)
        assert part.shape == (min(side, height), min(side, width))
        assert tile.top % 4 == tile.left % 4 == 0
        part += 1
    assert covered.min() >= 1


class Greedy(Enlarge):
    """Runs out of memory above so many pixels at a time."""

    def __init__(self, most):
        super().__init__()
        self.most, self.seen = most, []

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        if x.shape[0] * x.shape[-1] * x.shape[-2] > self.most:
            raise torch.OutOfMemoryError('out of memory, tried to allocate much')
        return super().forward(x)


def test_less_at_a_time_when_memory_runs_out():
    net, frames, windows = Greedy(100 * 100), clip(8, 160, 200), windows_of(8)
    output, stream = streamed(net, frames, windows, batch=4)
    assert torch.allclose(output, plain(Enlarge(), frames, windows), atol=1e-6)
    assert (stream.limits.batch, stream.limits.tile) == (1, 100)
    tries = [s for s in net.seen if s[0] * s[-1] * s[-2] > net.most]
    assert len(tries) == 3, 'four windows, two, one; then halves are remembered'


def test_no_memory_at_all_is_told():
    with pytest.raises(UserError, match=r'not enough memory[\s\S]*tried to allocate'):
        streamed(Greedy(10), clip(5, 128, 128), windows_of(5))


def test_memory_is_estimated():
    allocated = bytes_per_pixel(lambda side: [torch.zeros(side, side) for _ in range(3)])
    assert allocated == pytest.approx(12)
    released = bytes_per_pixel(lambda side: [torch.zeros(side, side).sum() for _ in range(3)])
    assert 4 <= released < 4.1
    assert fitting_tile(1000, 1000, 100, 200 * 10**6) is None
    side = fitting_tile(1000, 1000, 100, 10**7)
    assert side == 250
    assert fitting_tile(1000, 1000, 100, 1) == 64
    assert fit(small_network(), CPU, 'none', 16, 16, 5) is None


def test_half_precision_is_compared():
    net, frames, windows = small_network(), clip(5, 32, 32), windows_of(5)
    gap = precision_gap(net, CPU, 'bf16', windows[2], frames)
    assert 20 < gap < 120

    class Overflows(Identity):
        def forward(self, x):
            return super().forward(x) * (float('nan') if torch.is_autocast_enabled('cpu') else 1)

    assert precision_gap(Overflows(), CPU, 'bf16', View([1], [0, 1, 2], {}), frames) == 0


def test_turns_and_back():
    x = torch.rand(2, 3, 4, 6)
    members = parse_ensemble('x8+temporal')
    assert len(members) == len(set(members)) == 16
    assert len({turned('lq', x, turn).contiguous().numpy().tobytes() for turn, _ in members}) == 8
    for turn, _ in members:
        assert torch.equal(turned_back('lq', turned('lq', x, turn), turn), x)
    assert [len(parse_ensemble(t)) for t in ('none', 'x4', 'x8', 'temporal', 'x4+temporal')] == [1, 4, 8, 2, 8]
    assert len(parse_ensemble('x12')) == 12
    assert {turn for turn, _ in parse_ensemble('x6')} < {turn for turn, _ in parse_ensemble('x8')}
    for bad in ('x12+temporal', 'x5', 'x4+x8', '', 'none+'):
        with pytest.raises(UserError, match='unknown ensemble'):
            parse_ensemble(bad)


def test_an_ensemble_is_the_mean_of_its_members():
    net, frames, windows = small_network(), clip(7, 24, 32), windows_of(7)
    members = parse_ensemble('x8+temporal')
    ensemble = Ensemble(lambda: Stream(net, CPU), members)
    for window in windows[:4]:
        output = ensemble.restore([window], frames)
        stack = shown(frames, window)
        with torch.inference_mode():
            parts = [
                turned_back('gt', net(turned('lq', stack.flip(1) if back else stack, turn)), turn)
                for turn, back in members
            ]
        assert torch.allclose(output, torch.stack(parts).mean(0), atol=1e-5)
        assert not torch.allclose(output, parts[0], atol=1e-3)


class Running(torch.nn.Module):
    """Each frame is the mean with the one before and the one after it."""

    sees = Clip(least=2, context=2)

    def forward(self, x):
        before, after = torch.cat((x[:, :1], x[:, :-1]), 1), torch.cat((x[:, 1:], x[:, -1:]), 1)
        return (before + x + after) / 3


@pytest.mark.parametrize('length', [1, 7, 16, 33])
def test_a_clip_in_pieces(length):
    frames = clip(length, 8, 12)
    views = windows_of(length, Running.sees, piece=8)
    assert [c for w in views for c in w.centres] == list(range(length))
    assert max(len(w.indices) for w in views) <= 12
    assert min(len(w.indices) for w in views) >= 2, 'a clip that is too short is mirrored'
    some = [w.centres[0] for w in windows_of(length, Running.sees, piece=8, wanted=lambda i: i == 12)]
    assert some == ([8] if length > 12 else []), 'a piece of which one frame is wanted'
    output, _ = streamed(Running(), frames, views)
    whole = Running()(torch.cat([f['lq'] for f in frames.values()]).unsqueeze(0))[0]
    assert torch.allclose(output, whole)


class Fading(torch.nn.Module):
    """The mean of a frame and the next one, and a share of all that came before."""

    sees = Causal(look_ahead=1)
    multiple = 4

    def __init__(self):
        super().__init__()
        self.calls = 0

    def step(self, frames, state):
        self.calls += 1
        out = frames.mean(1) if state is None else 0.5 * frames.mean(1) + 0.5 * state['out']
        return out, {'out': out}

    def forward(self, x):
        return run_causal(self, x)


def test_a_causal_stream_is_the_clip_with_one_step_a_frame():
    net, frames = Fading(), clip(9, 10, 14)
    views = windows_of(9, net.sees)
    whole = apply(net, {'lq': torch.cat([f['lq'] for f in frames.values()]).unsqueeze(0)})['out'][0]
    net.calls = 0
    output, _ = streamed(net, frames, views)
    assert torch.equal(output, whole)
    assert net.calls == 9


def test_a_causal_state_is_taken_over():
    net, frames = Fading(), clip(9, 10, 14)
    whole, _ = streamed(net, frames, windows_of(9, net.sees))
    first, stream = streamed(net, frames, windows_of(9, net.sees)[:4])
    later = Stream(net, CPU)
    later.take_over(stream.snapshot())
    rest = torch.cat([later.restore([w], frames) for w in windows_of(9, net.sees, start=4)])
    assert torch.equal(torch.cat((first, rest)), whole)
    with pytest.raises(UserError, match='from frame to frame'):
        later.restore(windows_of(9, net.sees)[2:3], frames)


class Overwriting(torch.nn.Module):
    """Goes on in the state that it returned, a tuple with a dictionary."""

    sees = Causal()

    def step(self, frames, state):
        (known,) = state or ({'sum': torch.zeros_like(frames[:, 0])},)
        known['sum'] += frames[:, 0]
        return known['sum'].clone(), (known,)


def test_a_snapshot_is_of_its_frame(tmp_path):
    """The frames after it are computed before it is written."""
    net, frames = Overwriting(), clip(6, 8, 8)
    _, stream = streamed(net, frames, windows_of(6, net.sees)[:3])
    then = stream.snapshot()
    rest = torch.cat([stream.restore([w], frames) for w in windows_of(6, net.sees)[3:]])
    save({'maker': copied(then)}, tmp_path / 'a.state')
    later = Stream(net, CPU)
    later.take_over(load(tmp_path / 'a.state')['maker'])
    again = torch.cat([later.restore([w], frames) for w in windows_of(6, net.sees, start=3)])
    assert torch.equal(again, rest)
    assert torch.equal(rest[-1], sum(f['lq'][0] for f in frames.values()))


def test_peaks_are_picked_in_a_stream():
    peaks = [i % 4 == 0 for i in range(14)]
    views = windows_of(14, Window(3, pick='peaks'), peak=lambda i: peaks[i])
    assert [w.indices for w in views[:6]] == [[0, 0, 4], [0, 1, 4], [0, 2, 4], [0, 3, 4], [0, 4, 8], [4, 5, 8]]
    assert views[-1].indices == [12, 13, 13]
    with pytest.raises(UserError, match='picks frames'):
        windows_of(14, Window(3, pick='peaks'))


def test_peaks_of_another_scene_are_not_picked():
    """Nor waited for."""
    marks = [(i % 4 == 0) | CUT * (i == 6) for i in range(14)]
    given = []

    def frames():
        for i in range(14):
            given.append([])
            yield i

    for view in Views(Promise('net', Window(3, pick='peaks')), peak=lambda i: marks[i]).of(frames()):
        given[-1].append(view.indices)
    assert [indices for found in given[:6] for indices in found] == [[0, 0, 4], [0, 1, 4], [0, 2, 4], [0, 3, 4]]
    assert given[6] == [[0, 4, 4], [4, 5, 5]]
    assert given[8] == [[6, 6, 8], [7, 7, 8]]


def test_adjacent_frames_stand_among_the_peaks():
    sees = Window(5, pick='peaks', adjacent=True)
    peaks = [i % 4 == 0 for i in range(14)]
    views = windows_of(14, sees, peak=lambda i: peaks[i])
    assert [w.indices for w in views[:5]] == [
        [0, 0, 0, 1, 4],
        [0, 0, 1, 2, 4],
        [0, 1, 2, 3, 4],
        [0, 2, 3, 4, 8],
        [0, 3, 4, 5, 8],
    ]
    assert views[-1].indices == [8, 12, 13, 13, 13]


def test_networks_of_the_version_before():
    class Old(torch.nn.Module):
        num_frame = 3

    class OldClip(Old):
        recurrent = True

    with pytest.warns(UserWarning, match='older form'):
        assert promise(Old()).sees == Window(3)
    with pytest.warns(UserWarning, match='older form'):
        assert isinstance(promise(OldClip()).sees, Clip)


def test_compiled_blocks(monkeypatch):
    """--compile: blocks go through a compiler once, whatever the number of frames and of blocks."""
    graphs = []

    def interpreter(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda module, **how: compiled(module, backend=interpreter, **how))
    net, frames, windows = small_network(VOTES), clip(7, 24, 32), windows_of(7)
    expected = plain(net, frames, windows)
    compile_blocks(net)
    outputs, _ = streamed(net, frames, windows)
    assert torch.allclose(outputs, expected, atol=1e-6)
    count = len(graphs)
    assert 3 <= count <= 4, 'residual, dense and modulating blocks, however many there are'
    compile_blocks(net)
    assert torch.equal(streamed(net, frames, windows)[0], outputs)
    assert len(graphs) == count


def test_a_compiler_that_fails_is_named(monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError('no compiler found')

    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda module, **how: compiled(module, backend=broken, **how))
    net = small_network(VOTES)
    compile_blocks(net)
    with pytest.raises(UserError, match='cannot be compiled here'):
        streamed(net, clip(5, 24, 32), windows_of(5))


def test_a_causal_state_is_not_lost_to_smaller_tiles():
    """Members of an ensemble share what fits into memory: one that goes on whole may find tiles instead."""
    frames = clip(3, 64, 96)
    stream = Stream(Fading(), CPU)
    views = windows_of(3, Fading.sees)
    stream.restore(views[:1], frames)
    stream.limits.tile = 64
    with pytest.raises(UserError, match='all members'):
        stream.restore(views[1:2], frames)


@pytest.mark.parametrize('sees', [Causal(), Causal(look_ahead=1), Window(5), Clip(context=1)], ids=str)
def test_reading_ends_with_what_is_asked_for(sees):
    """The first frames of a long video do not cost the whole of it, and are what they are in the whole."""
    piece = 2 if isinstance(sees, Clip) else None
    read = []
    frames = (read.append(i) or i for i in range(100))
    found = list(Views(Promise('net', sees), piece=piece, until=4).of(frames))
    whole = windows_of(100, sees, piece=piece)[: len(found)]
    assert [(v.centres, v.indices) for v in found] == [(v.centres, v.indices) for v in whole]
    assert [c for view in found for c in view.centres] == [0, 1, 2, 3]
    assert len(read) < 12
