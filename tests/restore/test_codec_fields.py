"""What networks are shown of a video's codec while it is restored: what the decoder said, or that it said nothing."""

import numpy as np
import pytest
import torch
from coordinates import disagreement
from decoded import decoded
from restore.clips import frames_of, moving
from torch import nn
from video.test_metadata import write

from votes.archs.cavsr_arch import CAVSR
from votes.archs.contract import Clip, apply
from votes.archs.mfqe_arch import MFQE
from votes.errors import UserError
from votes.restore import Settings, restore_video
from votes.video.read import VideoReader

COUNT, SIZE = 18, (48, 64)


def panning():
    """Twice the column and the row in two channels, which move by 3 and 2 pixels a frame, and the frame's number in the
    third: an error of half a step changes nothing.
    """
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return [
        np.stack([2 * (x + 3 * i), 2 * (y + 2 * i), np.full_like(x, 10 * i)], 2).astype(np.uint8) for i in range(COUNT)
    ]


class Watches(nn.Module):
    """Compares all that it is shown with what the decoder said, wherever in the video it is."""

    sees = Clip(context=2)
    inputs = ('mv_past', 'mv_future', 'past_valid', 'future_valid', 'pict_type')

    def __init__(self, video):
        super().__init__()
        self.source = {name: getattr(video, name) for name in self.inputs[:4]}
        self.types = video.types
        self.worst, self.compared, self.frames = 0.0, 0, set()

    def forward(self, x, pict_type, **fields):
        lq = x[0] * 255
        numbers = (lq[:, 2, 0, 0] / 10).round().long()
        lq[:, :2] = (lq[:, :2] / 2).round() - torch.stack([3 * numbers, 2 * numbers], 1)[:, :, None, None]
        assert [chr(int(t)) for t in pict_type[0]] == [self.types[i] for i in numbers.tolist()]
        worst, compared = disagreement(lq, {name: value[0] for name, value in fields.items()}, self.source)
        self.worst, self.compared = max(self.worst, worst), self.compared + compared
        self.frames |= set(numbers.tolist())
        return x.clone()


@pytest.mark.parametrize(
    'settings',
    [
        {},
        {'chunk': 4, 'segment': 8},
        {'tile': 32, 'overlap': 8, 'chunk': 8},
        {'ensemble': 'x8', 'chunk': 8},
        {'ensemble': 'x4+temporal', 'chunk': 8},
        {'frames': (5, 12), 'chunk': 4},
    ],
    ids=lambda settings: ','.join(f'{k}={v}' for k, v in settings.items()) or 'whole',
)
def test_the_decoders_vectors_reach_the_network(tmp_path, settings):
    """Pieces, segments, tiles, orientations, reversal, a part of a video."""
    options = {'qp': '1', 'x264-params': 'bframes=2:b-adapt=0'}
    path = write(tmp_path / 'v.mkv', panning(), 'libx264rgb', 'rgb24', **options)
    video = decoded(path)
    assert np.array_equal(video.frames, np.stack(panning())), 'without loss'
    assert set(video.types) == set('IPB')
    assert video.past_valid.mean() > 0.5
    assert video.future_valid.any()
    net = Watches(video)
    restore_video(net, path, tmp_path / 'o.mkv', settings=Settings(codec='ffv1', **settings), progress='none')
    assert net.worst < 1e-6
    assert net.compared > 1000
    first, end = settings.get('frames', (0, COUNT))
    assert set(range(first, end)) <= net.frames


CODECS = {
    'hevc': ('libx265', 'mkv', {'x265-params': 'log-level=none:qp=30'}),
    'libdav1d': ('libsvtav1', 'mkv', {'svtav1-params': 'preset=12'}),
}


@pytest.mark.parametrize('codec', CODECS)
def test_a_codec_that_says_nothing(tmp_path, codec):
    """CAVSR is shown zeros that are not valid, and the user is told; the rest of what the codec says is there."""
    encoder, suffix, options = CODECS[codec]
    path = write(tmp_path / f'v.{suffix}', moving(6, (64, 64)), encoder, 'yuv420p', **options)
    torch.manual_seed(0)
    net = CAVSR(**CAVSR.small).eval()
    lossless = Settings(codec='ffv1')
    summary = restore_video(net, path, tmp_path / 'o.mkv', settings=lossless, progress='none')
    assert [note for note in summary.notes if 'vectors' in note] == [
        f'no motion vectors ({codec}): CAVSR is shown zeros, marked as not valid'
    ]
    with VideoReader(path) as reader:
        frames = torch.stack([torch.from_numpy(f.rgb.copy()) for f in reader]).permute(0, 3, 1, 2)[None].float() / 255
    shape = (1, 6, 2, 64, 64)
    types = [[ord(letter) for letter in decoded(path).types]]
    nothing = {'mv_past': torch.zeros(shape), 'mv_future': torch.zeros(shape), 'pict_type': torch.tensor(types)}
    nothing |= dict.fromkeys(('past_valid', 'future_valid'), torch.zeros(1, 6, 1, 64, 64, dtype=torch.bool))
    with torch.inference_mode():
        expected = apply(net, {'lq': frames, **nothing})['out'][0].clamp(0, 1).mul(255).round()
    found = [np.frombuffer(content, np.uint8).reshape(128, 128, 3) for content, _ in frames_of(tmp_path / 'o.mkv')]
    difference = np.abs(np.stack(found).transpose(0, 3, 1, 2).astype(int) - expected.numpy())
    assert difference.mean() < 1, 'but for the colours of the file'
    again = restore_video(MFQE(**MFQE.small).eval(), path, tmp_path / 'p.mkv', settings=lossless, progress='none')
    assert not [note for note in again.notes if 'picked' in note], 'frames of peak quality are told by bytes'

    class Blind(Watches):
        inputs = ('mv_past',)

        def __init__(self):
            nn.Module.__init__(self)

    with pytest.raises(UserError, match='Blind needs mv_past') as caught:
        restore_video(Blind(), path, tmp_path / 'q.mkv', settings=lossless, progress='none')
    assert f'{codec} gives no motion vectors' in str(caught.value)
    assert not (tmp_path / 'q.mkv').exists()
