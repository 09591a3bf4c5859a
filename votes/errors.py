"""Errors that a user can cause: what is wrong, where, the value seen, and what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any


class UserError(Exception):
    """Bad input. Programs print it without a traceback and end with exit code 2.

    Args:
        what: one sentence that says what is wrong.
        where: file, line, clip or frame.
        value: the value seen.
        fix: what to do about it.
    """

    def __init__(self, what: str, *, where: object = None, value: object = None, fix: str | None = None):
        super().__init__(what, where, value, fix)
        self.what = what
        self.details: dict[str, Any] = {'where': where, 'value': value, 'fix': fix}

    @property
    def line(self) -> str:
        """All of it in one line."""
        return ' '.join(str(self).split())

    def __reduce__(self) -> tuple[Any, ...]:  # from a worker process to its parent
        return partial(UserError, self.what, **{k: detail and str(detail) for k, detail in self.details.items()}), ()

    def __str__(self) -> str:
        lines = [self.what]
        lines += [f'  {name:<5}: {detail}' for name, detail in self.details.items() if detail is not None]
        return '\n'.join(lines)


def listed(title: str, problems: Sequence[str], most: int = 10) -> str:
    """A title and the problems below it, a line each; of many the first ones, and how many more there are."""
    more = [f'... and {len(problems) - most} more'] if len(problems) > most else []
    return '\n  '.join([title, *problems[:most], *more])


@contextlib.contextmanager
def explained(what: str, *kinds: type[Exception], where: object = None, fix: str | None = None) -> Iterator[None]:
    """What of these kinds goes wrong inside becomes a UserError, with what was said as its value."""
    try:
        yield
    except kinds as error:
        raise UserError(what, where=where, value=error, fix=fix) from error


def first_line(error: BaseException) -> str:
    """What an error says, in a line; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class Diverged(Exception):
    """Training produces NaN or Inf again and again; going on makes no sense."""


class Stalled(Exception):
    """Something that training waits for does not come; what has been trained is saved."""
