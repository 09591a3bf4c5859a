"""Training data of several origins in one folder: pairs, pairs made by a recipe, pairs of earlier platforms."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from votes.checkpoint import write_text
from votes.data.clip_lists import read_meta_info
from votes.data.degrading import degrade_source
from votes.data.sources import open_source
from votes.errors import UserError
from votes.video.recipe import read_recipe

PARTS = ('train', 'val', 'test')


def earlier_platform(name: str) -> Path:
    """The folder of pairs of a platform that was adapted to before, by its name or its place.

    Raises:
        UserError: it is not there, or not a folder of pairs with lists.
    """
    found = next((p for p in (Path('datasets') / f'finetune_{name}', Path(name)) if p.is_dir()), None)
    if found is None or not (found / 'meta_info_train.txt').is_file() or lq_folder(found) is None:
        raise UserError(
            'no pairs of an earlier platform',
            where=found,
            value=name,
            fix='--replay NAME of an earlier votes finetune, or a folder with HQ_frames, LQ_frames and meta_info lists',
        )
    return found


def lq_folder(data: Path) -> Path | None:
    """The folder of LQ frames in a folder of pairs."""
    return next((path for path in sorted(data.iterdir()) if path.name.startswith('LQ_frames')), None)


def label_of(folder: Path) -> str:
    """What an earlier platform is called in lists and tables."""
    return folder.resolve().name.removeprefix('finetune_')


def join_earlier(target: Path, folder: Path, seed: int) -> None:
    """Adds an earlier platform's clips to a folder of pairs: at most as many frames for training as there are new ones,
    drawn with the seed; all for validation; those for testing into a list of their own."""
    label = label_of(folder)
    lists = {part: _listed(folder / f'meta_info_{part}.txt') for part in PARTS}
    # what had been replayed there is not replayed again
    lists = {part: {c: n for c, n in clips.items() if not _foreign(folder, c)} for part, clips in lists.items()}
    room = sum(n for clip, n in _listed(target / 'meta_info_train.txt').items() if not _foreign(target, clip))
    names = sorted(lists['train'])
    drawn: dict[str, int] = {}
    for number in np.random.default_rng(seed).permutation(len(names)):
        clip = names[number]
        if not drawn or sum(drawn.values()) + lists['train'][clip] <= room:
            drawn[clip] = lists['train'][clip]
    lq = lq_folder(folder)
    assert lq is not None
    for part, clips in {**lists, 'train': drawn}.items():
        named = {f'{label}__{clip.replace("/", "__")}': (clip, count) for clip, count in clips.items()}
        for name, (clip, _) in named.items():
            _link(target, name, folder / 'HQ_frames' / clip, lq / clip, folder / 'metadata' / clip)
        list_name = f'meta_info_test_{label}.txt' if part == 'test' else f'meta_info_{part}.txt'
        _append(target / list_name, {name: count for name, (_, count) in named.items()}, anew=part == 'test')


def join_made(target: Path, originals: Path, recipe: str, seed: int) -> None:
    """Adds pairs for training, made of originals by a recipe.

    Raises:
        UserError: see read_recipe and degrade_source.
    """
    made = target / 'made'
    if not (made / 'LQ_frames' / 'manifest.json').is_file():
        degrade_source(originals, made / 'LQ_frames', read_recipe(recipe), originals=made / 'HQ_frames', seed=seed)
    source = open_source(made / 'HQ_frames')
    counts = {}
    for clip in source.clips():
        name = f'made__{clip.replace("/", "__")}'
        _link(target, name, made / 'HQ_frames' / clip, made / 'LQ_frames' / clip, made / 'metadata' / clip)
        counts[name] = source.length(clip)
    _append(target / 'meta_info_train.txt', counts)


def _listed(path: Path) -> dict[str, int]:
    return read_meta_info(path) if path.is_file() else {}


def _foreign(data: Path, clip: str) -> bool:
    """Whether a clip was joined from elsewhere."""
    return (data / 'HQ_frames' / clip).is_symlink()


def _link(target: Path, name: str, hq: Path, lq: Path, metadata: Path) -> None:
    own = lq_folder(target)
    assert own is not None
    for folder, source in ((target / 'HQ_frames', hq), (own, lq), (target / 'metadata', metadata)):
        if not source.is_dir() or not folder.is_dir():
            continue
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(source.resolve())


def _append(path: Path, clips: dict[str, int], anew: bool = False) -> None:
    there = {} if anew else _listed(path)
    if not there and not clips:
        return
    write_text(path, ''.join(f'{name} {count}\n' for name, count in {**there, **clips}.items()))
