"""A page that shows pairs: download and original on top of each other, and what was not paired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from votes.platforms.match import Match, described
from votes.platforms.pairing import Outcome
from votes.relation.looks import shrunk, within
from votes.reports.frames import TestSet
from votes.reports.page import write_page
from votes.reports.pictures import Pictures

FRAMES = 3  # of a pair
SIDE = 384  # pixels: longest side of a picture
PAGE = 'pairs.html'
DOWNLOAD, ORIGINAL = 'download', 'original'


def write_pairs_page(outcome: Outcome, target: Path) -> None:
    """Writes target/pairs.html: the least sure pairs first."""
    store = Pictures(target / PAGE)
    shown = TestSet('pairs', left=DOWNLOAD, right=ORIGINAL)
    lines = []
    for name in sorted(outcome.pairs, key=lambda name: _match(outcome, name).confidence):
        pair = outcome.pairs[name]
        lines.append(f'{name}: {described(_match(outcome, name))}; {len(pair.frames)} frames')
        picks = sorted({int((i + 0.5) * len(pair.frames) / FRAMES) for i in range(FRAMES)})
        shown.clips[name] = [
            {'index': i, 'pictures': _pictures(pair.lq_frame(i), pair.gt_frame(i), store), 'values': {}} for i in picks
        ]
    rest = [m for m in outcome.matches.values() if not m.sure or m.left_out]
    unsure = [described(m) for m in sorted(rest, key=lambda m: -m.confidence)]
    scale = next((p.scale for p in outcome.pairs.values()), 1)
    tables = [
        f'{len(lines)} pairs of scale {scale}, the least sure first\n\n' + '\n'.join(lines),
        f'{len(unsure)} downloads are not paired\n\n' + '\n'.join(unsure),
        f'{len(outcome.unused)} originals without a download\n\n' + '\n'.join(outcome.unused),
    ]
    if outcome.unreadable:
        tables.append('cannot be read\n\n' + '\n'.join(f'{k}: {v}' for k, v in outcome.unreadable.items()))
    content: dict[str, Any] = {'title': f'Pairs in {target.name}', 'tables': tables}
    write_page(target / PAGE, [shown] if shown.clips else [], content, store)


def _match(outcome: Outcome, name: str) -> Match:
    return next(m for m in outcome.matches.values() if m.pair == name)


def _pictures(lq: Any, gt: Any, store: Pictures) -> dict[str, int]:
    """Download, original and their difference at one size: name -> number."""
    size = within(gt.shape[:2], SIDE)
    large = np.asarray(cv2.resize(lq, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
    original = np.asarray(shrunk(gt, size), np.uint8)
    apart = np.clip(128 + 4 * (large.astype(int) - original), 0, 255).astype(np.uint8)
    return {DOWNLOAD: store.add(large), ORIGINAL: store.add(original), 'difference x 4': store.add(apart)}
