"""VOTES: restoring videos that social platforms have shrunk and compressed (ACM MM 2022)."""

from __future__ import annotations

from typing import Any

__version__ = '0.2.0'


def __getattr__(name: str) -> Any:
    """`votes.restore(...)`, `votes.stream(...)` and `votes.from_pretrained(...)`; torch is imported when they are asked
    for.
    """
    if name in ('restore', 'stream'):
        import importlib

        package = importlib.import_module('votes.restore')
        return package if name == 'restore' else package.stream
    if name == 'from_pretrained':
        from votes.export.hub import from_pretrained

        return from_pretrained
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
