"""Why a job of a study did not run, or failed, in a line."""

from __future__ import annotations

import re
from pathlib import Path

from votes.errors import UserError
from votes.options import OptionError


def last_words(log: Path) -> str:
    """What a program that failed said: its error with what follows, else its last line."""
    lines = [line.strip() for line in log.read_text(errors='replace').splitlines() if line.strip()]
    start = max((i for i, line in enumerate(lines) if line.startswith('error: ')), default=len(lines) - 1)
    return '; '.join(lines[max(start, 0) :] or ['no output'])[:300]


def cause(error: UserError) -> str:
    """Why a job is not possible: the data or the weights that are missing, or else all that is wrong."""
    lines = error.problems if isinstance(error, OptionError) else [str(error)]
    found = [(re.search(r': no such (folder|file): (.*?)(?: \(|$)', line), line) for line in lines]
    causes = []
    for match, line in found:
        if match is None:
            return f'not possible: {error.line[:300]}'
        weights = match[1] == 'file' and not re.search(r'datasets\.', line)
        causes.append(f'{"weights" if weights else "data"} missing: {match[2]}')
    return '; '.join(dict.fromkeys(causes))
