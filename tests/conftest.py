"""Small clips on disk and tiny option files, for tests of every room."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from forked import Forked

VDSR = {'type': 'VDSR', 'num_feat': 4, 'num_layer': 2, 'upscale': 2}  # of all networks the fastest to train
# rooms whose tests start ranks and wait for each other's deaths: one of them at a time
ONE_AT_A_TIME = ('processes',)
TINY_DSM = {'num_feat': 4, 'num_block': 1, 'num_layer': 1, 'num_grow_ch': 2}


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name in ONE_AT_A_TIME:
            item.add_marker(pytest.mark.xdist_group(item.path.parent.name))


def write_clip(folder: Path, frames: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Random frames as PNG; returns them, RGB uint8 (T, H, W, 3)."""
    folder.mkdir(parents=True)
    clip = np.random.default_rng(seed).integers(0, 256, (frames, *size, 3), dtype=np.uint8)
    for i, frame in enumerate(clip):
        cv2.imwrite(str(folder / f'{i:08d}.png'), frame[..., ::-1])
    return clip


@pytest.fixture
def pairs(tmp_path):
    """Makes gt/ and lq/ with clips of given (frames, LQ size); returns the root."""

    def make(clips=((6, (16, 20)), (8, (16, 16)), (7, (24, 16))), scale=2, root=tmp_path) -> Path:
        for i, (frames, size) in enumerate(clips):
            write_clip(root / 'lq' / f'{i:03d}', frames, size, seed=i)
            write_clip(root / 'gt' / f'{i:03d}', frames, (size[0] * scale, size[1] * scale), seed=100 + i)
        return root

    return make


def tiny_options(model_type: str) -> dict[str, Any]:
    """A complete option file for training or testing `model_type` on the clips of `pairs`, in 4 quick iterations."""
    roots = {'dataroot_gt': 'gt', 'dataroot_lq': 'lq'}
    loader = {'batch_size_per_gpu': 2, 'num_worker_per_gpu': 0}
    trunk = {'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1}
    network = {
        'DSMModel': {'type': 'BIN', **TINY_DSM},
        'VOTESModel': {
            'type': 'VOTES',
            **trunk,
            'num_modulation_blocks': 1,
            **{f'dsm_{k}': v for k, v in TINY_DSM.items()},
        },
        'EDVRModel': {'type': 'EDVR', **trunk, 'scale': 2},
    }[model_type]
    stage1 = model_type == 'DSMModel'
    return {
        'name': 'tiny',
        'model_type': model_type,
        'scale': 2,
        'num_gpu': 0,
        'manual_seed': 3,
        'datasets': {
            'train': {'type': 'UVSSMDataset', **roots, **loader, 'gt_size': 16, 'center_gt': not stage1},
            'val': {'type': 'VideoUVSSMTestDataset', **roots},
        },
        'network_g': network,
        'path': {'bin_model': 'dsm.pth'} if model_type == 'VOTESModel' else {},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': 1e-3},
            'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [4], 'restart_weights': [1]},
            'total_iter': 4,
            'pixel_opt': {'type': 'L1Loss' if stage1 else 'CharbonnierLoss'},
        },
        'val': {'val_freq': 4},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
    }


@pytest.fixture
def place(pairs, tmp_path, monkeypatch):
    """A working folder with clips and weights of a DSM; returns a function that writes an option file into it."""
    from votes import checkpoint
    from votes.archs import build_network

    monkeypatch.chdir(pairs())
    torch.manual_seed(0)  # runs of several tests are compared: all of them have the same DSM
    checkpoint.save({'params': build_network({'type': 'BIN', **TINY_DSM}).state_dict()}, 'dsm.pth')

    def write(model_type: str = 'VOTESModel', file: str = 'opt.yml', **changes: Any) -> str:
        """Keys of `changes` are dotted with two underscores: train__total_iter=2; None removes a key."""
        options = tiny_options(model_type)
        for name, value in changes.items():
            *sections, last = name.split('__')
            section = options
            for part in sections:
                section = section.setdefault(part, {})
            section[last] = value
            if value is None:
                del section[last]
        Path(file).write_text(yaml.safe_dump(options))
        return file

    return write


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Drawing the curves of a run takes longer than a validation here; tests/training/test_health.py does it."""
    monkeypatch.setattr('votes.training.validation.draw_curves', lambda folder: None)


@pytest.fixture(autouse=True)
def forked(request, monkeypatch):
    """The quick tests start programs of this project without an interpreter of their own, see forked.py; with --all, as
    in CI, all of them are started as users start them.
    """
    if request.config.getoption('markexpr') == 'not long':
        monkeypatch.setattr(subprocess, 'Popen', Forked)


@pytest.fixture
def browser(tmp_path):
    """Headless Chromium; the test is skipped where it is not installed."""
    chromium, driver = (shutil.which(name) for name in ('chromium', 'chromedriver'))
    if not (chromium and driver):
        pytest.skip('no chromium and chromedriver here')
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in ('headless', 'no-sandbox', 'disable-gpu', 'disable-background-networking', 'no-first-run'):
        options.add_argument(f'--{word}')
    (tmp_path / 'downloads').mkdir()
    options.add_experimental_option('prefs', {'download.default_directory': str(tmp_path / 'downloads')})
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    started = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield started
    started.quit()
