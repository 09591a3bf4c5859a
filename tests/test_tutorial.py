"""The notebook of docs/: its cells run in order, with less training, and their last one shows a slider."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = json.loads((ROOT / 'docs' / 'tutorial.ipynb').read_text())
CODE = [''.join(cell['source']) for cell in NOTEBOOK['cells'] if cell['cell_type'] == 'code']
WITHOUT_JUPYTER = """
import sys, types
python = sys.modules['IPython'] = types.ModuleType('IPython')
python.get_ipython, python.version_info = lambda: None, (9, 0)
shown = sys.modules['IPython.display'] = types.ModuleType('IPython.display')
shown.HTML = lambda text: print('HTML of', len(text), text[:7])
"""


def test_it_is_committed_without_outputs():
    assert not [cell for cell in NOTEBOOK['cells'] if cell.get('outputs') or cell.get('execution_count')]


def test_its_cells_are_python():
    for source in CODE:
        compile(source, 'tutorial.ipynb', 'exec')


@pytest.mark.long
@pytest.mark.timeout(1600)
def test_its_cells_run(tmp_path):
    cells = [source.replace("{'BIN': 150, 'VOTES': 250}", "{'BIN': 21, 'VOTES': 21}") for source in CODE]
    assert cells != CODE
    script = tmp_path / 'tutorial.py'
    script.write_text('\n'.join([WITHOUT_JUPYTER, *cells]))
    environment = {**os.environ, 'MPLBACKEND': 'agg', 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'HTML of' in done.stdout
    assert 'now - bicubic' in done.stdout
    assert (tmp_path / 'tutorial' / 'restored.mp4').is_file()
