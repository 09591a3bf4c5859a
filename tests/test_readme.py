"""What the README and the documentation say is what was measured, and what there is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]


def test_tables_are_those_of_the_results():
    code = 'import sys, tables; t = [p.read_text() for p in tables.pages()]; sys.exit(tables.filled(t) != t)'
    command = [sys.executable, '-c', code]
    done = subprocess.run(command, cwd=ROOT / 'benchmarks', capture_output=True, text=True, check=False)
    assert done.returncode == 0, f'python benchmarks/tables.py writes them anew\n{done.stderr}'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_commands_files_and_links_exist(page):
    from votes.cli import VERBS

    text = page.read_text()
    verbs = set(re.findall(r'(?:^|`|sudo )\s*votes ([a-z][a-z-]+)', text, re.M))
    assert verbs <= set(VERBS), verbs - set(VERBS)
    for path in set(re.findall(r'(?:options|scripts|tests|benchmarks)/[\w/.-]+\.(?:yml|sh|py|json)', text)):
        assert (ROOT / path).is_file() or 'NAME' in path or 'name' in path, path
    for link in re.findall(r'\]\(([^)#:]+)\)', text):
        assert (page.parent / link).exists(), link


def test_the_readme_is_short():
    assert len((ROOT / 'README.md').read_text().splitlines()) <= 150
