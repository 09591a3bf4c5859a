"""BI and BD data: where the pixels of LQ lie on GT, what mirroring does to that, and weights that know it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from conftest import tiny_options

from votes import checkpoint
from votes.cli import main
from votes.data.degrading import degrade_source
from votes.data.grid import check_grid, grid_of, stored_grid
from votes.data.uvssm_dataset import UVSSMDataset
from votes.data.video_test_dataset import VideoUVSSMTestDataset
from votes.errors import UserError
from votes.video.recipe import Recipe, degrade, read_recipe

RECIPES = Path(__file__).resolve().parents[2] / 'options' / 'degrade'


@pytest.fixture
def originals(tmp_path):
    """A clip of five frames of texture."""
    rng, folder = np.random.default_rng(0), tmp_path / 'hq' / '000'
    folder.mkdir(parents=True)
    for i in range(5):
        picture = cv2.GaussianBlur(rng.integers(0, 256, (96, 112, 3), dtype=np.uint8), (0, 0), 2)
        cv2.imwrite(str(folder / f'{i:08d}.png'), cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX))
    return tmp_path / 'hq'


def test_made_data_carry_their_grid(originals, tmp_path):
    for name, grid in (('bd_x2', 'origin'), ('bi_x2', 'centre')):
        recipe = read_recipe(RECIPES / f'{name}.yml')
        degrade_source(originals, tmp_path / name, recipe, say=str)
        assert recipe.grid == stored_grid(tmp_path / name) == grid
        shown = VideoUVSSMTestDataset(str(originals), str(tmp_path / name))
        drawn = UVSSMDataset(str(originals), degradation=str(RECIPES / f'{name}.yml'), gt_size=64)
        assert grid_of(shown) == grid_of(drawn) == grid
        check_grid(grid, 'x.pth', shown, 'test')
        check_grid(None, 'published.pth', shown, 'test')
        other = {'origin': 'centre', 'centre': 'origin'}[grid]
        check_grid(other, 'x.pth', shown, 'test', allowed=True)
        with pytest.raises(UserError, match='would be shifted'):
            check_grid(other, 'x.pth', shown, 'test')
    both = [str(RECIPES / f'{name}.yml') for name in ('bd_x2', 'bi_x2')]
    with pytest.raises(UserError, match='different grids'):
        UVSSMDataset(str(originals), degradation=both, gt_size=64)
    (tmp_path / 'bi_x2' / 'manifest.json').write_text('{')
    with pytest.raises(UserError, match='manifest'):
        stored_grid(tmp_path / 'bi_x2')


def test_mirrored_samples_are_of_the_same_grid(originals, tmp_path):
    """A mirrored pair is what mirroring GT and then degrading it gives, away from the border of the crop."""
    recipe = read_recipe(RECIPES / 'bd_x2.yml')
    degrade_source(originals, tmp_path / 'lq', recipe, say=str)
    samples = UVSSMDataset(str(originals), str(tmp_path / 'lq'), gt_size=64)
    turns = set()
    for epoch in range(12):
        sample = samples[epoch, 0]
        again, _ = degrade([sample['gt'].permute(1, 2, 0).numpy()], recipe)
        lq = sample['lq'][2].permute(1, 2, 0).numpy()
        inside = slice(4, -4)
        difference = np.abs(again[0][inside, inside].astype(int) - lq[inside, inside])
        assert difference.max() <= 1, f'epoch {epoch}'
        rng = np.random.default_rng((0, epoch, 0))
        turns.add(bytes(lq[0, 0]) + bytes(rng.bytes(1)))
    assert len(turns) > 4, 'of several crops and turns'


def test_weights_know_the_grid(originals, tmp_path, place, capsys):
    """Trained on BD, refused on BI, in validation and in tests, unless it is allowed."""
    for name in ('bd_x2', 'bi_x2'):
        degrade_source(originals, tmp_path / name, read_recipe(RECIPES / f'{name}.yml'), say=str)
    options = tiny_options('VOTESModel')
    for data, name in ((options['datasets']['train'], 'bd_x2'), (options['datasets']['val'], 'bi_x2')):
        for key in ('meta_info_file', 'meta_val_file', 'meta_test_file'):
            data.pop(key, None)
        data |= {'dataroot_gt': str(originals), 'dataroot_lq': str(tmp_path / name)}
    Path('o.yml').write_text(yaml.safe_dump(options))
    assert main(['train', '-opt', 'o.yml']) == 2
    assert 'would be shifted' in capsys.readouterr().err
    options['datasets']['val']['dataroot_lq'] = str(tmp_path / 'bd_x2')
    options['train']['total_iter'] = 1
    Path('o.yml').write_text(yaml.safe_dump(options))
    assert main(['train', '-opt', 'o.yml', '--restart']) == 0
    capsys.readouterr()
    weights = next(Path('experiments').rglob('net_g_latest.pth'))
    assert checkpoint.load(weights)['grid'] == 'origin'
    options['datasets'] = {'test': options['datasets']['val'] | {'dataroot_lq': str(tmp_path / 'bi_x2')}}
    options['path'] = {**options.get('path', {}), 'pretrain_network_g': str(weights)}
    options.pop('train')
    Path('t.yml').write_text(yaml.safe_dump(options))
    assert main(['test', '-opt', 't.yml']) == 2
    assert "'origin'" in capsys.readouterr().err
    assert main(['test', '-opt', 't.yml', '--set', 'val.any_grid=true']) == 0


def test_steps_of_recipes(tmp_path):
    """Steps alone, before encodings, drawn with the seed; what is wrong in them is told."""
    texture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    frames = [cv2.GaussianBlur(texture, (0, 0), 2)] * 2
    stock = read_recipe(RECIPES / 'real_esrgan.yml')
    one, other = (degrade(frames, stock, seed)[0] for seed in (0, 1))
    assert one[0].shape == (16, 16, 3)
    assert not np.array_equal(one[0], other[0])
    first = {'name': 'r', 'scale': 2, 'steps': [{'type': 'blur_down'}]}
    coded, (generation,) = degrade(frames, Recipe(**first, generations=[{'crf': 1}]))
    plain, _ = degrade(frames, Recipe(**first, generations=[]))
    assert coded[0].shape == plain[0].shape == (32, 32, 3)
    assert generation.bytes > 0
    assert np.abs(coded[0].mean(-1) - plain[0].mean(-1)).mean() < 3
    never = Recipe(name='r', steps=[{'type': 'noise', 'prob': 0}, {'type': 'bicubic'}], generations=[])
    assert np.array_equal(degrade(frames, never)[0][0], degrade(frames, never, 5)[0][0])
    for steps, words in (
        ([{'type': 'blurr'}], 'unknown degradation'),
        ([{'type': 'noise', 'sigmas': 1}], 'noise has no sigmas; it has gaussian_prob'),
        ([{'sigma': 1}], 'no type'),
        ([], 'generations or steps'),
    ):
        path = tmp_path / 'r.yml'
        path.write_text(json.dumps({'name': 'r', 'steps': steps, 'generations': []}))
        with pytest.raises(UserError, match=words):
            read_recipe(path)
