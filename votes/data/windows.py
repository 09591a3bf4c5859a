"""Which frames a window holds, also where it hangs over a clip's end."""

from __future__ import annotations

from typing import Literal

Padding = Literal['replicate', 'reflection', 'reflection_circle', 'circle']


def window_indices(centre: int, length: int, num_frame: int, padding: Padding) -> list[int]:
    """Indices of the `num_frame` frames around `centre` in a clip of `length` frames.

    Five frames around frame 0: replicate [0, 0, 0, 1, 2], reflection [2, 1, 0, 1, 2], reflection_circle [4, 3, 0, 1, 2]
    (the release's: distinct frames from the far side of the window), circle [3, 4, 0, 1, 2].

    Raises:
        ValueError: the clip is shorter than the window.
    """
    if length < num_frame:
        raise ValueError(f'a clip of {length} frames is shorter than the window of {num_frame}')
    half, last = num_frame // 2, length - 1
    indices = []
    for i in range(centre - half, centre + half + 1):
        if i < 0:
            i = {'replicate': 0, 'reflection': -i, 'reflection_circle': centre + half - i, 'circle': num_frame + i}[
                padding
            ]
        elif i > last:
            i = {
                'replicate': last,
                'reflection': 2 * last - i,
                'reflection_circle': centre - half - (i - last),
                'circle': i - num_frame,
            }[padding]
        indices.append(i)
    return indices
