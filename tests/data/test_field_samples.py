"""What published trainings and tests of recurrent networks do with clips: a moving first frame, frames of warm-up."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from votes.archs.contract import Causal
from votes.data.uvssm_dataset import UVSSMDataset
from votes.data.video_test_dataset import VideoTestVimeo90KDataset, VideoUVSSMTestDataset
from votes.errors import UserError
from votes.inference.frames import restored_frames
from votes.inference.stream import Stream


@pytest.fixture
def pairs(tmp_path):
    """GT whose grey says frame and place, LQ every second pixel of it; eight frames."""
    for i in range(8):
        y, x = np.mgrid[:80, :80]
        picture = np.stack([y * 3, x * 3, np.full_like(x, 10 * i)], 2).astype(np.uint8)
        for side, frame in (('gt', picture), ('lq', picture[::2, ::2])):
            (tmp_path / side / '000').mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / side / '000' / f'{i:08d}.png'), frame[..., ::-1])
    return str(tmp_path / 'gt'), str(tmp_path / 'lq')


def test_moving_first_frame(pairs):
    """One frame of the clip, walking a pixel at most; LQ and GT walk together; nothing changes where it is off."""
    settings = {'num_frame': 5, 'center_gt': False, 'gt_size': 64, 'use_flip': False, 'use_rot': False}
    moving = UVSSMDataset(*pairs, **settings, moving_first_frame=1)
    walked = set()
    for epoch in range(6):
        sample = moving[epoch, 0]
        lq, gt = sample['lq'].int(), sample['gt'].int()
        assert torch.equal(lq, gt[..., ::2, ::2])
        assert len(lq[:, 2].unique()) == 1, 'of one frame'
        steps = (lq[1:, :2, 0, 0] - lq[:-1, :2, 0, 0]) // 6
        assert steps.abs().max() <= 1
        walked |= set(steps.flatten().tolist())
        assert torch.equal(moving[epoch, 0]['lq'], sample['lq'])
    assert walked == {-1, 0, 1}
    still = UVSSMDataset(*pairs, **settings)
    assert len(still[0, 0]['lq'][:, 2].unique()) == 5
    sometimes = UVSSMDataset(*pairs, **settings, moving_first_frame=0.5)
    assert {len(sometimes[epoch, 0]['lq'][:, 2].unique()) for epoch in range(12)} == {1, 5}
    with pytest.raises(UserError, match='stand for themselves'):
        UVSSMDataset(pairs[0], degradation='options/degrade/reds_x2_qp33.yml', **settings, moving_first_frame=0.5)


class Remembers(nn.Module):
    """Gives how many frames it has seen, and the one before."""

    sees = Causal()
    scale = 2

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def step(self, frames, state):
        count = (0 if state is None else state['count']) + 1
        before = frames[:, 0, 2:] if state is None else state['before']
        out = torch.cat([torch.full_like(before, count / 100), before, frames[:, 0, 2:]], 1)
        out = out.repeat_interleave(2, -1).repeat_interleave(2, -2)
        return out, {'count': count, 'before': frames[:, 0, 2:]}


def test_frames_of_warm_up(pairs):
    """Frames 5 to 1 come before a clip and none of them comes out."""
    found = {}
    for warm_up in (0, 5):
        dataset = VideoUVSSMTestDataset(*pairs, warm_up=warm_up)
        stream = Stream(Remembers(), torch.device('cpu'))
        rows = list(restored_frames(stream, dataset, '000', {0, 1, 7}))
        assert [number for number, *_ in rows] == [0, 1, 7]
        assert [round(float(lq[2, 0, 0]) * 255) for *_, lq in rows] == [0, 10, 70]
        found[warm_up] = [[round(float(v), 3) for v in out[:2, 0, 0]] for _, out, _ in rows]
    tenth = round(10 / 255, 3)
    assert found[0] == [[0.01, 0.0], [0.02, 0.0], [0.08, round(60 / 255, 3)]]
    assert found[5] == [[0.06, tenth], [0.07, 0.0], [0.13, round(60 / 255, 3)]], 'frame 1 was before frame 0'
    with pytest.raises(UserError, match='shorter'):
        VideoUVSSMTestDataset(*pairs, warm_up=8)
    with pytest.raises(UserError, match='warm_up'):
        VideoUVSSMTestDataset(*pairs, warm_up=2, codec_metadata='somewhere')


def counts_of(dataset, wanted=range(8)):
    """Frame -> how many the network had seen when it came out."""
    stream = Stream(Remembers(), torch.device('cpu'))
    rows = restored_frames(stream, dataset, '000', set(wanted))
    return {number: round(float(out[0, 0, 0]) * 100) for number, out, _ in rows}


def test_blocks_mirrored_clips_and_ends(pairs):
    whole = VideoUVSSMTestDataset(*pairs)
    assert counts_of(whole) == {i: i + 1 for i in range(8)}
    blocks = VideoUVSSMTestDataset(*pairs, block=3)
    assert counts_of(blocks) == {0: 1, 1: 2, 2: 3, 3: 1, 4: 2, 5: 3, 6: 1, 7: 2}
    assert counts_of(blocks, [4]) == {4: 2}
    mirrored = VideoUVSSMTestDataset(*pairs, mirror=True)
    assert counts_of(mirrored) == counts_of(whole), 'the first half counts'
    assert mirrored.passes('000') == [([*range(8), *range(7, -1, -1)], 0)]
    inner = VideoUVSSMTestDataset(*pairs, skip_ends=2)
    assert inner.positions() == [('000', i) for i in range(2, 6)]
    assert len(inner) == 4
    vimeo = VideoTestVimeo90KDataset(*pairs, mirror=True)
    assert vimeo.positions() == [('000', 4)]
    with pytest.raises(UserError, match='one of warm_up, mirror and block'):
        VideoUVSSMTestDataset(*pairs, mirror=True, block=3)
    with pytest.raises(UserError):
        VideoUVSSMTestDataset(*pairs, skip_ends=4)
