"""Motion vectors of samples are those of the video, through crops, turns, reversal and batches."""

import cv2
import numpy as np
import pytest
import torch
from coordinates import disagreement, frame, source_fields, write_fields

from votes.archs.contract import Clip, Window, apply, promise
from votes.archs.fields import padded, reversed_in_time, turned, turned_back
from votes.data.transforms import orient
from votes.data.uvssm_dataset import UVSSMDataset
from votes.errors import UserError

COUNT, SIZE = 9, (64, 80)
SETTINGS = {'num_frame': 4, 'center_gt': False, 'gt_size': 32, 'scale': 1}


@pytest.fixture
def dataset(tmp_path):
    """Makes a dataset of one clip whose pixels say where they come from."""
    for side in ('gt', 'lq'):
        (tmp_path / side / '000').mkdir(parents=True)
        for i in range(COUNT):
            cv2.imwrite(str(tmp_path / side / '000' / f'{i:08d}.png'), frame(i, SIZE)[..., ::-1])
    write_fields(tmp_path / 'metadata' / '000', COUNT, SIZE)
    roots = str(tmp_path / 'gt'), str(tmp_path / 'lq')

    def make(**settings):
        return UVSSMDataset(*roots, **{**SETTINGS, **settings}, codec_metadata=str(tmp_path / 'metadata'))

    return make


@pytest.mark.parametrize('flip_sequence', [False, True])
@pytest.mark.parametrize('on_device', [False, True])
def test_samples(dataset, flip_sequence, on_device):
    source = source_fields(COUNT, SIZE)
    made = dataset(random_reverse=True, flip_sequence=flip_sequence, augment_on_device=on_device)
    seen = set()
    for epoch in range(24):
        sample = made[epoch, 0]
        if on_device:
            batch = {name: x[None] for name, x in sample.items() if isinstance(x, torch.Tensor)}
            turn = batch.pop('turn')
            sample = {name: x[0] for name, x in orient(batch, turn).items()}
        lq = sample['lq'].float()
        assert torch.equal(lq.byte(), sample['gt'])
        worst, compared = disagreement(lq, sample, source)
        assert worst == 0
        assert compared > 4000
        steps = [(lq[0, :, i, j] - lq[0, :, 0, 0]).tolist() for i, j in ((0, 1), (1, 0))]
        seen.add((str(steps), bool(lq[1, 2, 0, 0] > lq[0, 2, 0, 0])))
    assert len(seen) > 8, 'orientations and directions'


def test_steps_between_frames_have_no_vectors(dataset):
    with pytest.raises(UserError, match='those to the next frame'):
        dataset(interval_list=[1, 2])
    with pytest.raises(UserError, match='those to the next frame'):
        dataset(interval_list=[2])

    class Picks(torch.nn.Module):
        sees, inputs = Window(3, pick='peaks'), ('mv_past', 'past_valid')

    with pytest.raises(UserError, match='not next to each other'):
        promise(Picks())
    Picks.sees = Window(3, pick='peaks', adjacent=True)
    assert promise(Picks()).inputs == ('mv_past', 'past_valid')


def whole(source):
    """The video as a sample of all its frames, every pixel with the vector of its cell."""
    sample = {'lq': torch.from_numpy(np.stack([frame(i, SIZE) for i in range(COUNT)])).permute(0, 3, 1, 2).float()}
    for name, x in source.items():
        dense = torch.from_numpy(x).repeat_interleave(4, 1).repeat_interleave(4, 2)
        sample[name] = dense.permute(0, 3, 1, 2).float() if name.startswith('mv') else dense[:, None]
    return sample


@pytest.mark.parametrize('backwards', [False, True])
@pytest.mark.parametrize('number', range(8))
def test_orientations_and_back(number, backwards):
    source = source_fields(COUNT, SIZE)
    turn = bool(number & 1), bool(number & 2), bool(number & 4)
    sample = whole(source)
    there = {name: turned(name, x, turn) for name, x in sample.items()}
    there = reversed_in_time(there, 0) if backwards else there
    assert disagreement(there['lq'], there, source)[0] == 0
    back = reversed_in_time(there, 0) if backwards else there
    assert all(torch.equal(turned_back(name, x, turn), sample[name]) for name, x in back.items())


def test_padding_goes_on_with_the_motion_at_the_edge():
    source = source_fields(COUNT, SIZE)
    sample = whole(source)
    grown = {name: padded(name, x, 6, 10) for name, x in sample.items()}
    inside = {name: x[..., : SIZE[0], : SIZE[1]] for name, x in grown.items()}
    assert disagreement(inside['lq'], inside, source)[0] == 0
    edge = sample['mv_past'][..., -1:, -1:].expand(-1, -1, 6, 10)
    assert torch.equal(grown['mv_past'][..., SIZE[0] :, SIZE[1] :], edge)


class Agrees(torch.nn.Module):
    """Keeps what it was shown."""

    sees, multiple = Clip(), 16
    inputs = ('mv_past', 'mv_future', 'past_valid', 'future_valid')

    def forward(self, x, **fields):
        self.shown = {'lq': x, **fields}
        return x


def test_a_network_is_shown_them():
    source, net = source_fields(COUNT, SIZE), Agrees()
    sample = whole(source)
    crop = {name: x[None, 2:7, :, 3:40, 5:50] for name, x in sample.items()}
    apply(net, crop)
    inside = {name: x[0, ..., :37, :45] for name, x in net.shown.items()}
    assert disagreement(inside['lq'], inside, source)[0] == 0
