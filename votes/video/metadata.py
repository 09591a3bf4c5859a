"""What a codec says about its frames: picture types, motion vectors, quantisers, bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from av.codec.context import Flags2
from av.error import FFmpegError
from numpy.typing import NDArray

from votes.errors import UserError
from votes.video.read import VideoReader, frame_to_rgb

CELL = 4  # pixels: the smallest block with a vector of its own in H.264
TYPES = {1: 'I', 2: 'P', 3: 'B'}
TRUSTED_QP = {'h264'}  # others export quantisers in units of their own, or wrong ones


@dataclass
class DecodedVideo:
    """A video's frames and what the codec knows of them; T frames of H x W pixels, as they are stored (not rotated).

    Attributes:
        frames: uint8 RGB (T, H, W, 3).
        types: 'I', 'P' or 'B' of each frame, '?' where the codec does not say.
        bytes: compressed size of each frame.
        mv_past, mv_future: float16 (T, ceil(H/4), ceil(W/4), 2), x and y in pixels: the block at p was predicted from
            the earlier (later) frame at p + mv. How far away that frame is, no codec tells. None without vectors.
        past_valid, future_valid: bool (T, ceil(H/4), ceil(W/4)), where there is a vector.
        qp: int16 (T, ceil(H/16), ceil(W/16)), the quantiser of each macroblock; None where the codec does not give it.
    """

    frames: NDArray[np.uint8]
    types: list[str]
    bytes: NDArray[np.int64]
    mv_past: NDArray[np.float16] | None
    mv_future: NDArray[np.float16] | None
    past_valid: NDArray[np.bool_] | None
    future_valid: NDArray[np.bool_] | None
    qp: NDArray[np.int16] | None


def decode_with_metadata(path: str | Path, keep_frames: bool = True, limit: int | None = None) -> DecodedVideo:
    """Decodes a whole video file. Motion vectors come from H.264 and MPEG-2/4, quantisers from H.264 alone.

    Args:
        limit: of frames; None for all.
        keep_frames: without it `frames` has the shape (0, H, W, 3), and little memory is needed.

    Raises:
        UserError: see VideoReader; or the video breaks off.
    """
    with VideoReader(path) as reader:
        context: Any = reader.stream.codec_context
        context.flags2 |= Flags2.export_mvs
        context.options = {'export_side_data': 'venc_params'}
        sizes: dict[int, int] = {}
        rows: list[tuple[Any, ...]] = []
        codec = context.name
        try:
            for packet in reader.container.demux(reader.stream):
                if packet.pts is not None:
                    sizes[packet.pts] = sizes.get(packet.pts, 0) + packet.size
                for frame in packet.decode():
                    shape = frame.height, frame.width
                    vectors: Any = frame.side_data.get('MOTION_VECTORS')
                    quantisers: Any = frame.side_data.get('VIDEO_ENC_PARAMS') if codec in TRUSTED_QP else None
                    rows.append(
                        (
                            frame_to_rgb(frame, reader.colour) if keep_frames else None,
                            TYPES.get(int(frame.pict_type), '?'),
                            frame.pts,
                            *_dense(vectors, -1, shape),
                            *_dense(vectors, 1, shape),
                            quantisers.qp_map().astype(np.int16) if quantisers and quantisers.nb_blocks else None,
                        )
                    )
                if limit is not None and len(rows) >= limit:
                    break
        except (FFmpegError, OSError) as error:
            raise UserError('the video breaks off', where=path, value=error) from error
    frames, types, times, past, past_valid, future, future_valid, qp = zip(*rows[:limit], strict=True)
    moving = bool(np.any(past_valid) or np.any(future_valid))
    return DecodedVideo(
        np.stack(frames) if keep_frames else np.zeros((0, *shape, 3), np.uint8),
        list(types),
        np.array([sizes.get(pts, 0) for pts in times], np.int64),
        np.stack(past) if moving else None,
        np.stack(future) if moving else None,
        np.stack(past_valid) if moving else None,
        np.stack(future_valid) if moving else None,
        np.stack(qp) if all(q is not None for q in qp) else None,
    )


def _dense(vectors: Any, direction: int, shape: tuple[int, int]) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """The vectors into one direction (-1 past, 1 future) on a grid of 4x4 cells, and where there are any."""
    height, width = (-(-n // CELL) for n in shape)
    field, valid = np.zeros((height, width, 2), np.float16), np.zeros((height, width), np.bool_)
    for row in vectors.to_ndarray() if vectors is not None else ():
        if (row['source'] < 0) != (direction < 0):
            continue
        top, left = int(row['dst_y']) - int(row['h']) // 2, int(row['dst_x']) - int(row['w']) // 2
        cells = (
            slice(max(0, top) // CELL, -(-(top + int(row['h'])) // CELL)),
            slice(max(0, left) // CELL, -(-(left + int(row['w'])) // CELL)),
        )
        scale = float(row['motion_scale'] or 1)
        field[cells] = float(row['motion_x']) / scale, float(row['motion_y']) / scale
        valid[cells] = True
    return field, valid


def flip_vectors(vectors: NDArray[np.float16], horizontal: bool) -> NDArray[np.float16]:
    """A field (..., h, w, 2) as it is after its picture was mirrored, left to right or top to bottom."""
    flipped = (vectors[..., ::-1, :] if horizontal else vectors[..., ::-1, :, :]).copy()
    flipped[..., 0 if horizontal else 1] *= -1
    return flipped


def pqf_labels(qp: NDArray[Any] | None, sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Peak-quality frames: better than both neighbours, by mean quantiser, or without one by compressed size.

    Args:
        qp: (T, ...) quantisers, lower is better, or None.
        sizes: bytes of each frame (T,).
    """
    quality = sizes.astype(float) if qp is None else -qp.reshape(len(qp), -1).mean(1).astype(float)
    padded = np.concatenate(([-np.inf], quality, [-np.inf]))
    return np.asarray((quality > padded[:-2]) & (quality > padded[2:]))
