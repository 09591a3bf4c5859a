"""LQ made while training, and codec metadata beside the frames."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from decoded import decoded
from test_metadata import pan, write

from votes.cli import main
from votes.data.codec_metadata import CodecMetadata
from votes.data.degrading import OnTheFly, degrade_source
from votes.data.sources import FolderSource
from votes.data.uvssm_dataset import UVSSMDataset
from votes.errors import UserError
from votes.video.degrade import encode_h264
from votes.video.recipe import read_recipe

RECIPES = Path(__file__).resolve().parents[2] / 'options' / 'degrade'
QP33 = str(RECIPES / 'reds_x2_qp33.yml')
CRF15 = str(RECIPES / 'crf15.yml')


@pytest.fixture
def originals(tmp_path):
    """Two clips of a moving picture."""
    for number in range(2):
        folder = tmp_path / 'hq' / f'{number:03d}'
        folder.mkdir(parents=True)
        for i, frame in enumerate(pan(14, size=(128, 160))):
            smooth = cv2.GaussianBlur(np.roll(frame, 9 * number, 1), (0, 0), 2)
            cv2.imwrite(str(folder / f'{i:08d}.png'), smooth[..., ::-1])
    return tmp_path / 'hq'


def test_samples_degraded_when_they_are_drawn(originals):
    dataset = UVSSMDataset(str(originals), degradation=QP33, gt_size=64)
    for epoch in range(3):
        item, again = dataset[epoch, 1], dataset[epoch, 1]
        assert torch.equal(item['lq'], again['lq']), 'a function of seed, epoch and index'
        assert item['lq'].shape == (5, 3, 32, 32)
        small = torch.nn.functional.interpolate(item['gt'][None].float(), scale_factor=0.5, mode='area')[0]
        error = (item['lq'][2].float() - small).abs().mean()
        assert 0.3 < error < 20, f'compressed: {error}'
    assert not torch.equal(dataset[0, 1]['lq'], dataset[1, 1]['lq'])


def test_recipes_are_drawn(originals):
    source = OnTheFly(FolderSource(originals), [QP33, str(RECIPES / 'reds_x2_qp28.yml')], 2)
    crop = (8, 8, 32, 32)
    seen = {source.window('000', [4, 5, 6], crop, np.random.default_rng(seed))[1].tobytes() for seed in range(12)}
    assert len(seen) > 2, 'recipes and places in the group of pictures differ'
    backwards = source.window('000', [6, 5, 4], crop, np.random.default_rng(3))
    forwards = source.window('000', [4, 5, 6], crop, np.random.default_rng(3))
    assert all(np.array_equal(a, b) for a, b in zip(backwards, forwards[::-1], strict=True))


@pytest.mark.parametrize('top', [0, 13, 32])
def test_the_crop_is_where_it_should_be(originals, top):
    source = OnTheFly(FolderSource(originals), [QP33], 2)
    whole = source.read('000', 6)
    part = source.read('000', 6, (top, 21, 32, 40))
    assert part.shape == (32, 40, 3)
    errors = {
        (dy, dx): np.abs(part[2:-2, 2:-2].astype(float) - whole[top + dy + 2 : top + dy + 30, dx + 23 : dx + 59]).mean()
        for dy in ((-1, 0, 1) if top == 13 else (0,))
        for dx in (-1, 0, 1)
    }
    assert min(errors, key=errors.get) == (0, 0), errors


def test_recipes_that_do_not_fit(originals, tmp_path, place, capsys):
    with pytest.raises(UserError, match='does not fit'):
        UVSSMDataset(str(originals), degradation=str(RECIPES / 'reds_x4_qp28.yml'), gt_size=64)
    with pytest.raises(UserError, match='either dataroot_lq or degradation'):
        UVSSMDataset(str(originals), str(originals), degradation=QP33, gt_size=64)
    assert main(['train', '-opt', place(datasets__train__degradation='none.yml')]) == 2
    error = capsys.readouterr().err
    assert 'either dataroot_lq or degradation is needed (there is dataroot_lq and degradation)' in error
    assert 'no such file: none.yml' in error


def test_training_on_the_fly(originals, place, capsys):
    options = place(
        datasets__train__dataroot_lq=None,
        datasets__train__degradation=[QP33],
        datasets__train__dataroot_gt=str(originals),
        train__total_iter=2,
    )
    assert main(['train', '-opt', options]) == 0
    assert main(['bench-data', '-opt', options, '--seconds', '0.1']) == 0
    assert 'made by a codec on the fly' in capsys.readouterr().out


def test_frame_rate_changes(originals, tmp_path):
    recipe = tmp_path / 'r.yml'
    recipe.write_text('name: r\nframe_rate: [50, 20]\ngenerations: [{crf: 10, rate: 20}]\n')
    assert read_recipe(recipe).shown(14) == [0, 2, 5, 7, 10, 12]
    assert read_recipe(recipe).model_copy(update={'frame_rate': (2, 3)}).shown(4) == [0, 0, 1, 2, 2, 3]
    command = ['degrade', '-opt', str(recipe), str(originals), str(tmp_path / 'lq'), '--gt', str(tmp_path / 'pair')]
    assert main([*command, '--metadata', str(tmp_path / 'said')]) == 0
    manifest = json.loads((tmp_path / 'lq' / 'manifest.json').read_text())
    assert manifest['clips']['000']['shows'] == [0, 2, 5, 7, 10, 12]
    pair, all_of_it = FolderSource(tmp_path / 'pair'), FolderSource(originals)
    assert pair.length('000') == FolderSource(tmp_path / 'lq').length('000') == 6
    assert np.array_equal(pair.read('000', 2), all_of_it.read('000', 5))
    assert CodecMetadata(tmp_path / 'said').length('001') == 6


def test_some_clips_alone(originals, tmp_path, capsys):
    recipe = tmp_path / 'r.yml'
    recipe.write_text('name: r\nscale: 2\ngenerations: [{crf: 30}]\n')
    command = ['degrade', '-opt', str(recipe), str(originals), str(tmp_path / 'lq'), '--only']
    assert main([*command, '001', 'none']) == 2
    assert 'no such clips' in capsys.readouterr().err
    assert main([*command, '001', '001']) == 0
    assert FolderSource(tmp_path / 'lq').clips() == ['001']


def test_what_a_version_before_began_goes_on(originals, tmp_path):
    """Its notes of clips had no checksum."""

    def stopped(line):
        raise KeyboardInterrupt

    recipe = tmp_path / 'r.yml'
    recipe.write_text('name: r\nscale: 2\ngenerations: [{crf: 30}]\n')
    with pytest.raises(KeyboardInterrupt):
        degrade_source(originals, tmp_path / 'lq', read_recipe(recipe), workers=1, say=stopped)
    note = tmp_path / 'lq' / '.000.json'
    about = json.loads(note.read_text())
    del about['checksum']
    note.write_text(json.dumps(about))
    said = []
    degrade_source(originals, tmp_path / 'lq', read_recipe(recipe), workers=1, say=said.append)
    assert not any(line.startswith('000') for line in said), 'the first clip was there'
    assert json.loads((tmp_path / 'lq' / 'manifest.json').read_text())['clips']['000'] == about


@pytest.fixture
def coded(tmp_path, originals):
    """A video of each clip, its frames as LQ, and what the codec said."""
    videos = tmp_path / 'videos'
    videos.mkdir()
    for clip in ('000', '001'):
        frames = [FolderSource(originals).read(clip, i) for i in range(14)]
        encode_h264(frames, videos / f'{clip}.mp4', 30)
    assert main(['metadata', str(videos), str(tmp_path / 'said')]) == 0
    return videos, tmp_path / 'said'


def test_metadata_of_a_sample(coded, originals, capsys):
    videos, said = coded
    dataset = UVSSMDataset(str(originals), str(videos), gt_size=32, scale=1, codec_metadata=str(said), num_frame=3)
    whole = decoded(videos / '000.mp4')
    read = CodecMetadata(said).read('000', [3, 4, 5], (6, 10, 32, 40))
    for name, cell in (('mv_past', 4), ('future_valid', 4), ('qp', 16)):
        stored = getattr(whole, name)
        for y, x in ((6, 10), (6 + 31, 10 + 39), (20, 31)):
            assert np.array_equal(read[name][1, :, y - 6, x - 10], np.atleast_1d(stored[4, y // cell, x // cell]))
    assert [chr(t) for t in read['pict_type']] == whole.types[3:6]
    assert read['mv_past'].abs().max() > 0
    back = CodecMetadata(said).read('000', [5, 4, 3], (6, 10, 32, 40))
    assert torch.equal(back['mv_future'].flip(0), read['mv_past'])
    assert torch.equal(back['past_valid'].flip(0), read['future_valid'])
    item = dataset[0, 0]
    assert item['mv_past'].shape == (3, 2, 32, 32)
    assert item['qp'].shape == (3, 1, 32, 32)


def test_the_motion_of_a_sample_is_the_motion_in_its_pictures(tmp_path):
    """Warping by the vectors explains the frame, in every orientation. One reference: vectors are of one frame."""
    recipe = read_recipe(QP33).model_copy(update={'scale': 1})
    recipe.generations[0].params, recipe.generations[0].bframes = 'ref=1', 0
    (tmp_path / 'gt' / 'a').mkdir(parents=True)
    for i, picture in enumerate(pan(8, size=(96, 128))):
        cv2.imwrite(str(tmp_path / 'gt' / 'a' / f'{i:08d}.png'), picture[..., ::-1])
    degrade_source(tmp_path / 'gt', tmp_path / 'lq', recipe, metadata=tmp_path / 'said', say=str)
    dataset = UVSSMDataset(
        str(tmp_path / 'gt'),
        str(tmp_path / 'lq'),
        gt_size=64,
        scale=1,
        num_frame=3,
        codec_metadata=str(tmp_path / 'said'),
    )
    for epoch in range(8):
        item = dataset[epoch, 0]
        previous, frame = item['lq'][1:].float()
        y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing='ij')
        moved = (torch.stack([x, y]) + item['mv_past'][2]).round().long()
        inside = item['past_valid'][2, 0] & (moved >= 0).all(0) & (moved < 64).all(0)
        moved = moved.clamp(0, 63)
        warped = previous[:, moved[1], moved[0]]
        plain, explained = ((frame - other).abs()[:, inside].mean() for other in (previous, warped))
        assert inside.float().mean() > 0.5
        assert explained < 0.6 * plain, (epoch, plain, explained)


def test_one_bad_video_does_not_end_the_metadata_of_others(tmp_path, capsys):
    """Interlaced H.264 of 136 lines, odd sizes, a file that is none: all others are done, and the bad one is named."""
    videos = tmp_path / 'videos'
    videos.mkdir()
    interlaced = [cv2.resize(frame, (128, 136)) for frame in pan(6)]
    write(videos / 'a_interlaced.mp4', interlaced, flags='+ildct+ilme', qp='30')
    (videos / 'b_broken.mp4').write_bytes(b'no video')
    write(videos / 'c_odd.mkv', [cv2.resize(f, (131, 95)) for f in pan(6)], pixels='yuv444p', qp='30')
    write(videos / 'd_small.avi', [cv2.resize(f, (36, 18)) for f in pan(6)], 'mpeg4')
    assert main(['metadata', str(videos), str(tmp_path / 'said')]) == 2
    error = capsys.readouterr().err
    assert '1 of 4 videos could not be read' in error
    assert 'b_broken.mp4' in error
    said = CodecMetadata(tmp_path / 'said')
    assert said.field('a_interlaced', 'qp').shape == (6, 9, 8)
    assert said.field('a_interlaced', 'qp')[0].mean() == 27
    assert said.field('c_odd', 'qp').shape == (6, 6, 9)
    assert said.field('c_odd', 'mv_past').shape == (6, 24, 33, 2)
    assert said.length('d_small') == 6
    (videos / 'b_broken.mp4').unlink()
    assert main(['metadata', str(videos), str(tmp_path / 'said')]) == 0


def test_metadata_that_does_not_belong(coded, originals, tmp_path, capsys):
    _, said = coded
    with pytest.raises(UserError, match='metadata of another video'):
        UVSSMDataset(str(originals), degradation=QP33, gt_size=32, codec_metadata=str(said))
    with pytest.raises(UserError, match=r'cannot be read[\s\S]*002'):
        CodecMetadata(said).about('002')
    with pytest.raises(UserError, match='no codec metadata'):
        CodecMetadata(tmp_path / 'none')
