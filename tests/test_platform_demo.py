"""The whole way to an adapted network, as the documentation shows it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from votes.video.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_the_demo_of_a_platform(tmp_path):
    command = f'{sys.executable} -m votes.cli'
    environment = {**os.environ, 'VOTES': command, 'DEMO_FOLDER': str(tmp_path), 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        ['bash', str(ROOT / 'scripts' / 'platform_demo.sh')], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    out = tmp_path / 'results' / 'platform_demo'
    measured, made = read_recipe(out / 'platform.yml'), read_recipe(ROOT / 'options' / 'degrade' / 'demo_platform.yml')
    assert measured.kernel == made.kernel
    for name in ('codec', 'preset', 'gop', 'rate'):
        assert getattr(measured.generations[-1], name) == getattr(made.generations[-1], name)
    assert (out / 'restored.mp4').stat().st_size > 0
    assert 'restore a video with it' in (out / 'finetune.txt').read_text()
