"""How a frame is made smaller: the kernels that platforms and papers use, by the programs that have them."""

from __future__ import annotations

from typing import Literal, get_args

import av
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from votes.video.convert import ONE_THREAD

Kernel = Literal[
    'ffmpeg_bicubic',
    'swscale_bicubic',
    'matlab_bicubic',
    'area',
    'lanczos',
    'bilinear',
    'opencv_bicubic',
    'opencv_bilinear',
    'nearest',
]
KERNELS: tuple[str, ...] = get_args(Kernel)
# cubic of a = -0.6, of 3 lobes, triangle: all as wide as the new pixels, on the grid of pixel centres
# (ffmpeg_bicubic and swscale_bicubic are one kernel: an encoder's input is shrunk on the way to YUV, or as RGB before)
SWSCALE = {'ffmpeg_bicubic': 'BICUBIC', 'swscale_bicubic': 'BICUBIC', 'lanczos': 'LANCZOS', 'bilinear': 'BILINEAR'}
# without antialiasing but for area: a few pixels around each new pixel's place; cubic of a = -0.75
OPENCV = {
    'area': cv2.INTER_AREA,
    'opencv_bicubic': cv2.INTER_CUBIC,
    'opencv_bilinear': cv2.INTER_LINEAR,
    'nearest': cv2.INTER_NEAREST,
}


def shrink(
    frame: NDArray[np.uint8], size: tuple[int, int], kernel: Kernel, phase: tuple[float, float] = (0, 0)
) -> NDArray[np.uint8]:
    """RGB (H, W, 3) -> (h, w, 3), rounded.

    Args:
        phase: right and down, pixels of `frame`: how far the new pixels' places are from the grid of pixel centres.
    """
    if any(phase):
        frame = shifted(frame, phase)
    if frame.shape[:2] == size:
        return frame
    if kernel == 'matlab_bicubic':
        batch = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].double()
        small = F.interpolate(batch, size, mode='bicubic', align_corners=False, antialias=True)
        return small[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
    if kernel in OPENCV:
        return np.asarray(cv2.resize(frame, size[::-1], interpolation=OPENCV[kernel]), np.uint8)
    scaled = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), 'rgb24').reformat(
        size[1], size[0], 'rgb24', interpolation=SWSCALE[kernel], **ONE_THREAD
    )
    return np.asarray(scaled.to_ndarray(), np.uint8)


def shifted(frame: NDArray[np.uint8], phase: tuple[float, float]) -> NDArray[np.uint8]:
    """What is seen from a place so far right and down, by eight taps."""
    move = np.array([[1, 0, phase[0]], [0, 1, phase[1]]], np.float64)
    flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
    height, width = frame.shape[:2]
    return np.asarray(
        cv2.warpAffine(frame, move, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT), np.uint8
    )


def emphasised(frame: NDArray[np.uint8], weight: float) -> NDArray[np.uint8]:
    """Unsharp masking by what a Gaussian of sigma 1 takes away; of a negative weight: smoothing."""
    x = frame.astype(np.float32)
    return np.clip(np.rint(x + weight * (x - cv2.GaussianBlur(x, (0, 0), 1))), 0, 255).astype(np.uint8)
