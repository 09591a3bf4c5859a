"""All that `each_frame` says of a video, stacked over its frames."""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from votes.video.metadata import each_frame
from votes.video.read import VideoReader
from votes.video.recipe import Degradation


def decoded(path):
    """frames (T, H, W, 3), types, bytes, and (T, ...) of what each frame says; None of vectors and quantisers if none
    has any."""
    found = list(each_frame(path))
    with VideoReader(path) as reader:
        frames = np.stack([frame.rgb for frame in reader])
    video = {name: [getattr(frame, name) for frame in found] for name in vars(found[0])}
    moving = any(frame.past_valid.any() or frame.future_valid.any() for frame in found)
    for name, there in {'mv_past': moving, 'mv_future': moving, 'past_valid': moving, 'future_valid': moving}.items():
        video[name] = np.stack(video[name]) if there else None
    video['qp'] = None if any(qp is None for qp in video['qp']) else np.stack(video['qp'])
    video['types'], video['bytes'] = video.pop('type'), np.array(video['bytes'])
    return SimpleNamespace(frames=frames, **video)


def last_generation(frames, recipe):
    """What the codec says of the last generation of frames through a recipe."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Degradation(lambda: iter(frames), len(frames), frames[0].shape[:2], recipe, 0, Path(folder))
        list(clip.frames())
        return decoded(clip.video)
