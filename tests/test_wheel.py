"""What `pip install` of a wheel gives, without a checkout beside it."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import write_clip

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [pytest.mark.long, pytest.mark.xdist_group('wheel')]


ALONE = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}


def tracked(*patterns):
    done = subprocess.run(['git', 'ls-files', *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def outcome(*command, folder=None):
    return subprocess.run([str(word) for word in command], cwd=folder, env=ALONE, capture_output=True, text=True)


def call(*command, folder=None):
    done = outcome(*command, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """An sdist of what is tracked, and a wheel made of that sdist."""
    root = tmp_path_factory.mktemp('wheel')
    for name in tracked():
        (root / 'source' / name).parent.mkdir(parents=True, exist_ok=True)
        (root / 'source' / name).write_bytes((ROOT / name).read_bytes())
    build = f'from setuptools import build_meta; build_meta.build_sdist({str(root)!r})'
    call(sys.executable, '-c', build, folder=root / 'source')
    (sdist,) = root.glob('*.tar.gz')
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
    call(*pip, 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '-w', root, sdist)
    (wheel,) = root.glob('*.whl')
    return sdist, wheel


@pytest.fixture(scope='module')
def environment(built, tmp_path_factory):
    """The folder of programs of an environment with the wheel in it, and what it needs from the one that tests."""
    root = tmp_path_factory.mktemp('environment')
    call(sys.executable, '-m', 'venv', '--without-pip', root)
    (packages,) = root.glob('lib/python*/site-packages')
    # not as a site: an editable install of this checkout is not seen
    (packages / 'needs.pth').write_text(sysconfig.get_paths()['purelib'] + '\n')
    call(sys.executable, '-m', 'pip', '--python', root / 'bin' / 'python', 'install', '-q', '--no-deps', built[1])
    return root / 'bin'


def test_the_sdist_and_the_wheel_are_whole(built):
    sdist, wheel = built
    with tarfile.open(sdist) as file:
        packed = {name.split('/', 1)[1] for name in file.getnames() if '/' in name}
    assert tracked('votes', 'options', 'tests/*.py', 'README.md', 'LICENSE', 'setup.py') <= packed | tracked('*.md')
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    assert {f'votes/options/files/{name.removeprefix("options/")}' for name in tracked('options')} <= inside
    assert tracked('votes') - tracked('*.md') <= inside
    assert not [name for name in inside if name.startswith(('tests/', 'benchmarks/', 'options/'))]


def test_verbs_find_the_files_that_come_with_it(environment, tmp_path):
    votes = environment / 'votes'
    place = call(environment / 'python', '-c', 'import votes; print(votes.__file__)', folder=tmp_path)
    assert Path(place).is_relative_to(environment.parent)
    write_clip(tmp_path / 'HQ' / '000', 3, (64, 64))
    call(votes, 'degrade', '-opt', 'options/degrade/reds_x2_qp28.yml', 'HQ', 'LQ', folder=tmp_path)
    assert len(list((tmp_path / 'LQ' / '000').glob('*.png'))) == 3
    call(votes, 'new', 'network', 'Mine', '--sees', 'frame', folder=tmp_path)
    assert (tmp_path / 'train_Mine_demo.yml').is_file()
    said = outcome(votes, 'train', '-opt', 'options/train/VOTES/train_VOTES_demo.yml', folder=tmp_path)
    assert said.returncode == 2
    assert 'no such folder: ./datasets/demo' in said.stderr, 'the file was read, its data are missing'
    assert 'figure7' in outcome(votes, 'reproduce', 'none_of_these', folder=tmp_path).stderr
