"""Networks as shapes alone: what an option file names can be looked at without memory, or time, for weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import init
from torch.overrides import TorchFunctionMode

_VALUES = {torch.Tensor.uniform_, torch.Tensor.normal_, torch.Tensor.fill_, torch.Tensor.zero_, torch.Tensor.mul_}
_VALUES |= {init.uniform_, init.normal_, init.constant_, init.kaiming_uniform_, init.kaiming_normal_}


class _NoFirstValues(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func in _VALUES:
            tensor = args[0] if args else given['tensor']
            if tensor.is_meta:
                return tensor
        return func(*args, **given)


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Networks that are built inside lie on the device `meta` and are not initialised, which takes most of the time."""
    with torch.device('meta'), _NoFirstValues():
        yield
