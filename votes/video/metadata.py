"""What a codec says about its frames: picture types, motion vectors, quantisers, bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from av.codec.context import Flags2
from av.error import FFmpegError
from numpy.typing import NDArray

from votes.errors import UserError, explained
from votes.video.convert import frame_bits
from votes.video.read import VideoReader
from votes.video.scenes import small_luma

CELL = 4  # pixels: the smallest block with a vector of its own in H.264
TYPES = {1: 'I', 2: 'P', 3: 'B'}
TRUSTED_QP = {'h264'}  # others export quantisers in units of their own, or wrong ones


@dataclass
class FrameMetadata:
    """What is known of a frame of H x W pixels, as it is stored (not rotated).

    Attributes:
        size: H and W.
        type: 'I', 'P' or 'B', '?' where the codec does not say.
        bytes: compressed size.
        mv_past, mv_future: float16 (ceil(H/4), ceil(W/4), 2), x and y in pixels: the block at p was predicted from
            the earlier (later) frame at p + mv. How far away that frame is, no codec tells.
        past_valid, future_valid: bool (ceil(H/4), ceil(W/4)), where there is a vector.
        qp: int16 (ceil(H/16), ceil(W/16)), the quantiser of each macroblock; None where the codec does not give it.
        small: the frame, small and grey, see scenes.SceneCuts.
    """

    size: tuple[int, int]
    type: str
    bytes: int
    mv_past: NDArray[np.float16]
    past_valid: NDArray[np.bool_]
    mv_future: NDArray[np.float16]
    future_valid: NDArray[np.bool_]
    qp: NDArray[np.int16] | None
    small: NDArray[np.uint8]


def each_frame(path: str | Path) -> Iterator[FrameMetadata]:
    """The frames of a video file one after the other. Motion vectors come from H.264 and MPEG-2/4, quantisers from
    H.264 alone.

    Raises:
        UserError: see VideoReader; or the video breaks off, changes its size, or holds no frame.
    """
    # where several frames are decoded at once FFmpeg exports quantisers of frames that are not decoded to their end
    with VideoReader(path, threads=1) as reader:
        context: Any = reader.stream.codec_context
        context.flags2 |= Flags2.export_mvs
        context.options = {'export_side_data': 'venc_params'}
        sizes: dict[int, int] = {}
        shape: tuple[int, int] | None = None
        with explained('the video breaks off', FFmpegError, OSError, where=path):
            for packet in reader.container.demux(reader.stream):
                if packet.pts is not None:
                    sizes[packet.pts] = sizes.get(packet.pts, 0) + packet.size
                for frame in packet.decode():
                    shape = shape or (frame.height, frame.width)
                    if shape != (frame.height, frame.width):
                        value = f'{frame.width}x{frame.height}'
                        raise UserError('the picture changes its size', where=path, value=value)
                    vectors: Any = frame.side_data.get('MOTION_VECTORS')
                    rows = None if vectors is None else vectors.to_ndarray()
                    yield FrameMetadata(
                        shape,
                        TYPES.get(int(frame.pict_type), '?'),
                        sizes.pop(frame.pts or 0, 0),
                        *_dense(rows, -1, shape),
                        *_dense(rows, 1, shape),
                        quantisers(frame) if context.name in TRUSTED_QP else None,
                        small_luma(frame),
                    )
        if shape is None:
            raise UserError('no frame can be decoded', where=path)


BLOCK = np.dtype([('x', '<i4'), ('y', '<i4'), ('w', '<i4'), ('h', '<i4'), ('qp', '<i4')])


def quantisers(frame: Any) -> NDArray[np.int16] | None:
    """The quantiser of each macroblock of a decoded frame of H.264: (ceil(H/16), ceil(W/16)), or None.

    Interlaced video is coded in whole pairs of macroblocks: those beyond the picture are left out. As in the standard
    (QP_Y), a quantiser means the same step whatever the depth: FFmpeg's is 6 larger for each bit beyond 8.
    """
    told: Any = frame.side_data.get('VIDEO_ENC_PARAMS')
    if told is None or not told.nb_blocks or told.block_size < BLOCK.itemsize:
        return None
    raw = np.frombuffer(bytes(told), np.uint8, told.nb_blocks * told.block_size, told.blocks_offset)
    blocks = np.frombuffer(raw.reshape(-1, told.block_size)[:, : BLOCK.itemsize].tobytes(), BLOCK)
    rows, columns = -(-frame.height // 16), -(-frame.width // 16)
    y, x = blocks['y'] // 16, blocks['x'] // 16
    inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
    found = np.full((rows, columns), told.qp, np.int16)
    found[y[inside], x[inside]] = told.qp + blocks['qp'][inside]
    return np.asarray(found - 6 * (max(8, frame_bits(frame)) - 8), np.int16)


def _dense(
    rows: NDArray[Any] | None, direction: int, shape: tuple[int, int]
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """The vectors into one direction (-1 past, 1 future) on a grid of 4x4 cells, and where there are any."""
    height, width = (-(-n // CELL) for n in shape)
    field, valid = np.zeros((height, width, 2), np.float16), np.zeros((height, width), np.bool_)
    if rows is None or not len(rows):
        return field, valid
    rows = rows[(rows['source'] < 0) == (direction < 0)]
    sides = np.stack([rows['h'], rows['w']]).astype(int)
    start = np.stack([rows['dst_y'], rows['dst_x']]).astype(int) - sides // 2
    first = np.maximum(start, 0) // CELL
    count = np.minimum(-(-(start + sides) // CELL), [[height], [width]]) - first
    scale = np.where(rows['motion_scale'] == 0, 1, rows['motion_scale']).astype(float)
    vectors = np.stack([rows['motion_x'] / scale, rows['motion_y'] / scale], 1).astype(np.float16)
    for down, right in np.ndindex(*count.max(1, initial=0)):
        covered = (count[0] > down) & (count[1] > right)
        cell = first[0][covered] + down, first[1][covered] + right
        field[cell], valid[cell] = vectors[covered], True
    return field, valid


def pqf_labels(qp: NDArray[Any] | None, sizes: NDArray[np.int64], cuts: Sequence[int] = ()) -> NDArray[np.bool_]:
    """Peak-quality frames, as MFQE has them: better than the frame before and no worse than the one after, by mean
    quantiser, or without one by compressed size; also the first and the last frame of a scene.

    Args:
        qp: (T, ...) quantisers, lower is better, or None.
        sizes: bytes of each frame (T,).
        cuts: first frames of scenes but the first.
    """
    quality = sizes.astype(float) if qp is None else -qp.reshape(len(qp), -1).mean(1).astype(float)
    peaks = np.ones(len(quality), np.bool_)
    peaks[1:-1] = (quality[1:-1] > quality[:-2]) & (quality[1:-1] >= quality[2:])
    for cut in cuts:
        peaks[cut - 1 : cut + 1] = True
    return peaks
