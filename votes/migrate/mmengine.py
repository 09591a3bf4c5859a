"""Checkpoints of mmengine, which hold the history of its log as objects of its own beside weights and optimizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from votes import checkpoint
from votes.errors import UserError


class _Ignored:
    """Stands for an object of mmengine in a file; what it holds is thrown away, and no code of its class runs."""

    def __init__(self, *args: Any, **kwargs: Any):
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.args = ()


# classes of objects in its logs, by the names that files have for them
LOGGED = ('mmengine.logging.history_buffer.HistoryBuffer', 'mmengine.config.config.ConfigDict')
NUMPY = ('numpy.core.multiarray._reconstruct', 'numpy._core.multiarray._reconstruct')


def read_mmengine(path: Path) -> dict[str, Any]:
    """'state_dict', and where there is one 'optimizer', of iter_N.pth.

    Raises:
        UserError: the file is damaged, or holds other objects than such files do.
    """
    harmless: list[Any] = [(_Ignored, name) for name in LOGGED]
    harmless += [(_Ignored, name) for name in NUMPY]
    harmless += [(_Ignored, 'numpy.dtype'), (_Ignored, 'numpy.ndarray'), (_Ignored, 'numpy.core.multiarray.scalar')]
    harmless += [(_Ignored, 'numpy._core.multiarray.scalar')]
    with torch.serialization.safe_globals(harmless):
        content = checkpoint.load(path)
    if not isinstance(content.get('state_dict'), dict):
        raise UserError('no weights in this checkpoint', where=path, value=', '.join(map(str, list(content)[:5])))
    return content
