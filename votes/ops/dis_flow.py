"""Optical flow without learning: OpenCV's dense inverse search (Kroeger et al., ECCV 2016), on the CPU."""

from __future__ import annotations

import threading
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

SMALLEST = 16  # pixels of a side
LUMA = (0.299, 0.587, 0.114)
_own = threading.local()  # a search keeps buffers: each thread has its own


def _search() -> Any:
    if not hasattr(_own, 'search'):
        # on compressed frames this preset's flow is smoother than that of the slower ones, and brings them nearer
        _own.search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    return _own.search


@torch.no_grad()
def dis_flow(frame: Tensor, other: Tensor) -> Tensor:
    """Where each pixel of `frame` is in `other`; no gradients.

    Args:
        frame, other: (B, 3, h, w) RGB in [0, 1], h and w of at least 16. Luma is rounded to 8 bits.

    Returns:
        (B, 2, h, w) in pixels, to the right and downwards, float32, on the device of `frame`.
    """
    if isinstance(frame, FakeTensor):  # arithmetic is counted on tensors without values
        return frame.new_zeros(frame.shape[0], 2, *frame.shape[-2:], dtype=torch.float32)
    weights = torch.tensor(LUMA, device=frame.device).view(1, 3, 1, 1)
    with torch.autocast(frame.device.type, enabled=False):
        grey = [(x.float().clamp(0, 1) * weights).sum(1).mul(255).round().byte().cpu().numpy() for x in (frame, other)]
    found = [_search().calc(a, b, None) for a, b in zip(*map(np.ascontiguousarray, grey), strict=True)]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).to(frame.device)
