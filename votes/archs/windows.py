"""Which frames a window holds, also where it hangs over a clip's end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Padding = Literal['replicate', 'reflection', 'reflection_circle', 'circle']
Pick = Literal['next', 'peaks', 'intra', 'anchors']
TYPES = {'intra': 'I', 'anchors': 'IP'}  # picture types that are picked
PICKED, CUT = 1, 2  # marks of a frame: of peak quality (or a type that is picked); the first of a scene


def window_indices(
    frame: int, length: int, num_frame: int, padding: Padding = 'reflection_circle', centre: int | None = None
) -> list[int]:
    """Indices of the `num_frame` frames around `frame` in a clip of `length` frames.

    Five frames around frame 0: replicate [0, 0, 0, 1, 2], reflection [2, 1, 0, 1, 2], reflection_circle [4, 3, 0, 1, 2]
    (the release's: distinct frames from the far side of the window), circle [3, 4, 0, 1, 2].

    Args:
        centre: the place of `frame` in the window, the middle unless told.

    Raises:
        ValueError: the clip is shorter than the window.
    """
    if length < num_frame:
        raise ValueError(f'a clip of {length} frames is shorter than the window of {num_frame}')
    before = num_frame // 2 if centre is None else centre
    first, end, last = frame - before, frame + num_frame - 1 - before, length - 1
    indices = []
    for i in range(first, end + 1):
        edge = min(max(i, 0), last)
        if i != edge:
            i = {
                'replicate': edge,
                'reflection': 2 * edge - i,
                'reflection_circle': (end if i < 0 else first + last) - i,
                'circle': i + num_frame if i < 0 else i - num_frame,
            }[padding]
        indices.append(i)
    return indices


def peak_indices(
    frame: int, marks: Sequence[int], num_frame: int, centre: int | None = None, adjacent: bool = False
) -> list[int]:
    """Indices of `frame` and of the nearest frames of peak quality before and after it, in the order of time, of its
    own scene alone.

    Args:
        marks: PICKED (or True), CUT, or both, of each frame of the clip.
        centre: the place of `frame` in the window, the middle unless told; where there are not so many peaks on a
            side, the farthest there is, or `frame` itself, stands again.
        adjacent: the frames next to `frame` are among them, whatever their quality.
    """
    before = num_frame // 2 if centre is None else centre

    def taken(i: int) -> bool:
        return bool(marks[i] & PICKED) or (adjacent and abs(i - frame) == 1)

    start = next((i for i in range(frame, 0, -1) if marks[i] & CUT), 0)
    end = next((i for i in range(frame + 1, len(marks)) if marks[i] & CUT), len(marks))
    earlier = [i for i in range(frame - 1, start - 1, -1) if taken(i)][:before] or [frame]
    later = [i for i in range(frame + 1, end) if taken(i)][: num_frame - 1 - before] or [frame]
    earlier += [earlier[-1]] * (before - len(earlier))
    later += [later[-1]] * (num_frame - 1 - before - len(later))
    return [*earlier[:before][::-1], frame, *later[: num_frame - 1 - before]]
