"""What data are, whatever they are called and however they are stored: a cheap fingerprint of their pictures."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from votes import checkpoint

CLIPS = 32  # are looked into, spread over the whole list


def fingerprint(dataset: Any, recipes: Any = None) -> dict[str, str]:
    """Clip -> hash of both pictures of its middle frame, for up to CLIPS clips; of files that `recipes` names as well.

    Frames are hashed as they are decoded: moving or packing a data set changes nothing. A picture that is not among
    those looked at can change unnoticed: this finds other data under old names, not a single damaged file.
    Datasets that do not say what they are made of (no `pairs`) have no fingerprint.
    """
    pairs = getattr(dataset, 'pairs', None)
    if pairs is None:
        return {}
    names = sorted(pairs.lengths)
    step = max(1, len(names) / CLIPS)
    found = {}
    for name in [names[int(i * step)] for i in range(min(len(names), CLIPS))]:
        digest = hashlib.sha256()
        for source in (pairs.lq, pairs.gt):
            # of LQ that is made when it is drawn the recipe counts
            if hasattr(source, 'read') and not hasattr(source, 'window'):
                frame = source.read(name, pairs.lengths[name] // 2)
                digest.update(str(frame.shape).encode() + frame.tobytes())
        found[name] = digest.hexdigest()[:16]
    for path in [recipes] if isinstance(recipes, str) else recipes or []:
        if Path(path).is_file():
            found[f'recipe {Path(path).name}'] = checkpoint.sha256(path)[:16]
    return found


def differences(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """A line where the pictures of clips that both know are others."""
    other = sorted(name for name in before.keys() & now.keys() if before[name] != now[name])
    if not other:
        return []
    named = ', '.join(other[:5]) + (f' and {len(other) - 5} more' if len(other) > 5 else '')
    return [f'  the pictures of the training clips are not the same under the same names: {named}']
