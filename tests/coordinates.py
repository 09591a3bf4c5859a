"""Frames that say of each pixel where it comes from, and motion vectors of which that tells what they ought to be.

A pixel holds its column, its row and ten times the number of its frame. Whatever is done to a sample, its pictures say
how its places belong to those of the source; a vector v at p points to p + v, so that ``place(p + v) - place(p)`` must
be the source's vector, of whichever direction in time the neighbour lies in.
"""

import json

import numpy as np
import torch

STEP = 10  # of the third channel from frame to frame


def frame(number, size=(64, 80)):
    """RGB uint8 (H, W, 3)."""
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack([x, y, np.full_like(x, STEP * number)], 2).astype(np.uint8)


def source_fields(count, size=(64, 80), seed=0):
    """Random vectors of a video in cells of 4 pixels, a part of them not valid: as CodecMetadata stores them."""
    rng = np.random.default_rng(seed)
    shape = count, -(-size[0] // 4), -(-size[1] // 4)
    found = {}
    for name in ('past', 'future'):
        valid = rng.random(shape) < 0.8
        vectors = rng.integers(-32, 33, (*shape, 2)) / 4
        found[f'mv_{name}'] = np.where(valid[..., None], vectors, 0).astype(np.float16)
        found[f'{name}_valid'] = valid
    return found


def write_fields(folder, count, size=(64, 80)):
    folder.mkdir(parents=True)
    fields = source_fields(count, size)
    for name, values in fields.items():
        np.save(folder / f'{name}.npy', values)
    peaks = [i % 3 == 0 for i in range(count)]
    about = {'size': list(size), 'types': ['IPB'[i % 3] for i in range(count)], 'bytes': [9] * count, 'pqf': peaks}
    (folder / 'frames.json').write_text(json.dumps(about))
    return fields


def disagreement(lq, fields, source):
    """How far vectors of a sample are from what the source's, brought to the sample, are; and how many were compared.

    Args:
        lq: (T, 3, h, w), 0 to 255, frames of `frame`, cropped, turned, reversed; h, w at least 2.
        fields: (T, ...) of the sample.
        source: as of source_fields, of the whole video.
    """
    places = lq[:, :2].round().long()
    numbers = (lq[:, 2, 0, 0] / STEP).round().long().tolist()
    # how a step along a row, and one down a column, move in the source: (2,) each
    across = (places[0, :, 0, 1] - places[0, :, 0, 0]).float()
    down = (places[0, :, 1, 0] - places[0, :, 0, 0]).float()
    worst, compared = 0.0, 0
    for k, number in enumerate(numbers):
        x, y = places[k]
        for name, beside in (('past', k - 1), ('future', k + 1)):
            if not 0 <= beside < len(numbers):
                continue
            step = numbers[beside] - number
            cell = number, (y // 4).numpy(), (x // 4).numpy()
            if step == 0:
                expected, valid = torch.zeros(2, *x.shape), torch.ones_like(x, dtype=torch.bool)
            else:
                assert abs(step) == 1, 'vectors are those to the next frame'
                there = 'past' if step < 0 else 'future'
                expected = torch.from_numpy(source[f'mv_{there}'][cell].astype('float32')).movedim(-1, 0)
                valid = torch.from_numpy(source[f'{there}_valid'][cell])
            v = fields[f'mv_{name}'][k].float()
            moved = across.view(2, 1, 1) * v[:1] + down.view(2, 1, 1) * v[1:]
            worst = max(worst, float((moved - expected).abs().max()))
            assert torch.equal(fields[f'{name}_valid'][k, 0].bool(), valid)
            compared += int(valid.sum())
    return worst, compared
