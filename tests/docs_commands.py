"""The commands that README and docs/ show, found in their blocks of code."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / 'README.md',
    ROOT / 'CONTRIBUTING.md',
    ROOT / 'experiments' / 'README.md',
    *sorted((ROOT / 'docs').rglob('*.md')),
]
PROGRAMS = ('votes', 'bash', 'sbatch', 'python', 'pip', 'git', 'source')


@dataclass(frozen=True)
class Command:
    """One line of a shell, and where it stands."""

    page: str
    line: int
    text: str

    @property
    def words(self):
        return shlex.split(self.text, comments=True)


def blocks(page):
    """Fenced and indented blocks of a page: language (None of indented ones), number of the first line, lines."""
    lines = page.read_text().splitlines()
    number = 0
    while number < len(lines):
        fence = re.match(r'^```(\w*)', lines[number])
        start = number + 1
        if fence:
            end = next(i for i in range(start, len(lines)) if lines[i].startswith('```'))
            yield fence[1], start + 1, lines[start:end]
            number = end + 1
        elif lines[number].startswith('    ') and (number == 0 or not lines[number - 1].strip()):
            end = number
            while end < len(lines) and (lines[end].startswith('    ') or not lines[end].strip()):
                end += 1
            yield None, number + 1, [line[4:] for line in lines[number:end]]
            number = end
        else:
            number += 1


def commands(page):
    """The lines of a page that a shell runs."""
    found = []
    for language, first, lines in blocks(page):
        if language not in (None, 'bash'):
            continue
        joined = '\n'.join(lines).replace('\\\n', ' ')
        for offset, line in enumerate(joined.split('\n')):
            if line.split(' ')[0] in PROGRAMS:
                found.append(Command(page.name, first + offset, line.strip()))
    return found


def all_commands():
    return [command for page in PAGES for command in commands(page)]
