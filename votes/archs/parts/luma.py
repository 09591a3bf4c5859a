"""Networks of one channel."""

from __future__ import annotations

from torch import nn


def set_channels(net: nn.Module, channels: int) -> None:
    """Says in `net` whether it restores RGB (3 channels) or Y (1), and compares what it restores with that of GT.

    Raises:
        ValueError: it takes neither.
    """
    if channels not in (1, 3):
        raise ValueError(f'a frame has 3 channels (RGB) or 1 (Y), not {channels}')
    net.channels = 'rgb' if channels == 3 else 'luma'  # type: ignore[assignment]
    if channels == 1:
        net.supervised = {'l_pix': {'output': 'luma', 'target': 'gt_luma'}}  # type: ignore[assignment]
