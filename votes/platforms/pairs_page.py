"""A page that shows pairs: download and original on top of each other, and what was not paired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from votes.platforms.pairing import Match, Outcome, described
from votes.relation.looks import shrunk, within
from votes.reports.frames import TestSet, data_uri
from votes.reports.page import write_page

FRAMES = 3  # of a pair
SIDE = 384  # pixels: longest side of a picture
PAGE = 'pairs.html'


def write_pairs_page(outcome: Outcome, target: Path) -> None:
    """Writes target/pairs.html: the least sure pairs first."""
    shown = TestSet('pairs')
    lines = []
    names = sorted(outcome.pairs, key=lambda name: _match(outcome, name).confidence)
    for name in names:
        pair = outcome.pairs[name]
        match = _match(outcome, name)
        lines.append(f'{name}: {described(match)}; {len(pair.frames)} frames')
        picks = sorted({int((i + 0.5) * len(pair.frames) / FRAMES) for i in range(FRAMES)})
        shown.clips[name] = [
            {'index': i, 'psnr': None, 'pictures': pictures(pair.lq_frame(i), pair.gt_frame(i))} for i in picks
        ]
    unsure = [
        described(m) for m in sorted(outcome.matches.values(), key=lambda m: -m.confidence) if not m.sure or m.left_out
    ]
    tables = [
        f'{len(names)} pairs of scale {next((p.scale for p in outcome.pairs.values()), 1)}, the least sure first\n\n'
        + '\n'.join(lines),
        f'{len(unsure)} downloads are not paired\n\n' + '\n'.join(unsure),
        f'{len(outcome.unused)} originals without a download\n\n' + '\n'.join(outcome.unused),
    ]
    if outcome.unreadable:
        tables.append('cannot be read\n\n' + '\n'.join(f'{k}: {v}' for k, v in outcome.unreadable.items()))
    content: dict[str, Any] = {'title': f'Pairs in {target.name}', 'tables': tables}
    write_page(target / PAGE, {'pairs': shown} if shown.clips else {}, content)


def _match(outcome: Outcome, name: str) -> Match:
    clip = outcome.pairs[name].relation.timing
    return next(m for m in outcome.matches.values() if m.relation is not None and m.relation.timing.lq is clip.lq)


def pictures(lq: Any, gt: Any) -> dict[str, str]:
    """Download, original and their difference at one size: name -> data URI."""
    size = within(gt.shape[:2], SIDE)
    large = np.asarray(cv2.resize(lq, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
    original = np.asarray(shrunk(gt, size), np.uint8)
    apart = np.clip(128 + 4 * (large.astype(int) - original), 0, 255).astype(np.uint8)
    return {'download': data_uri(large), 'original': data_uri(original), 'difference x 4': data_uri(apart)}
