"""What the README says is what was measured, and what there is."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text()


def test_tables_are_those_of_the_results():
    code = 'import sys, tables; sys.exit(tables.filled(open(sys.argv[1]).read()) != open(sys.argv[1]).read())'
    command = [sys.executable, '-c', code, str(ROOT / 'README.md')]
    done = subprocess.run(command, cwd=ROOT / 'benchmarks', capture_output=True, text=True, check=False)
    assert done.returncode == 0, f'python benchmarks/tables.py writes them anew\n{done.stderr}'


def test_commands_and_files_exist():
    from votes.cli import VERBS

    verbs = set(re.findall(r'(?:^|`|sudo )\s*votes ([a-z][a-z-]+)', README, re.M))
    assert verbs <= set(VERBS), verbs - set(VERBS)
    for path in set(re.findall(r'(?:options|scripts|tests|benchmarks)/[\w/.-]+\.(?:yml|sh|py|json)', README)):
        assert (ROOT / path).is_file(), path
