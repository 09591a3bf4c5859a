"""`votes new network`: what it writes keeps its promises, trains, and is what the documentation shows."""

import difflib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from votes.cli import main
from votes.commands.new_network import KINDS, document, module_of
from votes.registry import NETWORKS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize('kind', ['causal', *(pytest.param(k, marks=pytest.mark.long) for k in KINDS if k != 'causal')])
def test_a_network_of_a_users_own(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f'My{kind.capitalize()}Net'
    assert main(['new', 'network', name, '--sees', kind]) == 0
    module = module_of(name)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [f'{module}.py', f'train_{name}_demo.yml', f'test_{module}.py']
    )
    assert f'votes check-network {module}:{name}' in capsys.readouterr().out
    assert pytest.main(['-q', '-p', 'no:cacheprovider', str(tmp_path / f'test_{module}.py')]) == 0
    assert main(['new', 'network', name, '--sees', kind]) == 2
    assert 'the output exists' in capsys.readouterr().err


def test_inside_the_project_it_is_a_file_a_row_an_option_file_and_a_test(tmp_path, monkeypatch):
    (tmp_path / 'votes').mkdir()
    shutil.copy(ROOT / 'votes' / 'registry.py', tmp_path / 'votes' / 'registry.py')
    before = (tmp_path / 'votes' / 'registry.py').read_text()
    monkeypatch.chdir(tmp_path)
    assert main(['new', 'network', 'EDZZ', '--sees', 'window']) == 0
    after = (tmp_path / 'votes' / 'registry.py').read_text()
    changed = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in '+-']
    assert changed == ["+         'EDZZ': 'votes.archs.edzz_arch:EDZZ',"]
    assert after.index("'EDVR'") < after.index("'EDZZ'") < after.index("'VOTES'")
    for path in ('votes/archs/edzz_arch.py', 'options/train/EDZZ/train_EDZZ_demo.yml', 'tests/archs/test_edzz.py'):
        assert 'EDZZ' in Path(path).read_text()
    ruff = [sys.executable, '-m', 'ruff', 'check', '--config', str(ROOT / 'pyproject.toml'), '--ignore', 'I001', '.']
    assert subprocess.run(ruff).returncode == 0  # the order of imports depends on the rest of the project


@pytest.mark.parametrize('name', ['my net', 'mynet', '2Net', 'EDVR', '../Net'])
def test_names_that_cannot_be(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(['new', 'network', name, '--sees', 'frame']) == 2
    assert not list(tmp_path.iterdir())


def test_the_documentation_shows_what_is_written():
    assert (ROOT / 'docs' / 'add-a-network.md').read_text() == document(), 'python -m votes.commands.new_network'
    assert 'EDVR' in NETWORKS.table
