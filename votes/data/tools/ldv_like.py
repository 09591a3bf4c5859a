"""Stand-ins for LDV, the data of the NTIRE 2021 challenge on compressed video, made of any videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from votes import checkpoint
from votes.data.clip_lists import folds
from votes.data.degrading import degrade_source, write_clip
from votes.data.sources import Frame, FrameSource
from votes.data.tools.layouts import Places, videos
from votes.errors import UserError
from votes.options.shipped import option_file
from votes.video.recipe import read_recipe

Say = Callable[[str], None]
# track -> recipe: HM's ripple of quality with x264's quantisers (tracks 1 and 2), x265 in two passes at 200 kbit/s
TRACKS = {'track1': 'options/degrade/ntire21_track1_like.yml', 'track3': 'options/degrade/ntire21_track3.yml'}
# part -> tracks that are made of it: the challenge tests track 3 on other videos
PARTS = {'train': ('track1', 'track3'), 'val': ('track1', 'track3'), 'test': ('track1',), 'test_track3': ('track3',)}


def prepare_ldv_like(
    source: Path,
    target: Path,
    frames: int | None = None,
    test: int | None = None,
    val: int | None = None,
    seed: int = 0,
    say: Say = print,
) -> None:
    """Makes target/PART/{GT,LQ_track1,LQ_track3}/NNN/00000000.png with metadata_track1 and metadata_track3, as the
    option files of LDV name them, and target/names.json: what each number was. The same call goes on where it stopped.

    Args:
        source: videos, raw YUV or folders of pictures.
        frames: at most so many of each video (LDV has about 250 to 600).
        test: videos for testing, half of them for track 3; a tenth of them unless told, at least one.
        val: videos for validation; likewise.

    Raises:
        UserError: too few videos, or one that cannot be read.
    """
    clips = videos(Places([source]), None)[0].gt
    tenth = max(1, len(clips) // 10)
    tested, validated = tenth if test is None else test, tenth if val is None else val
    if tested + validated >= len(clips) or tested < 1 or validated < 1:
        raise UserError(
            'too few videos for this split',
            where=source.absolute(),
            value=f'{len(clips)} videos, {tested} test, {validated} val',
            fix='three videos or more, of which some are left for training',
        )
    split = folds(sorted(clips), 1, tested, validated, seed)[0]
    half = max(1, tested // 2)
    split |= {'test': split['test'][:half], 'test_track3': split['test'][half:] or split['test']}
    names: dict[str, dict[str, str]] = {}
    for part, tracks in PARTS.items():
        names[part] = {}
        for number, clip in enumerate(split[part], 1):
            folder = target / part / 'GT' / f'{number:03d}'
            names[part][folder.name] = clip
            if not folder.is_dir():
                opened, name = clips[clip]
                write_clip(folder, _even(opened, name, frames))
                say(f'{folder}: {clip}')
        for track in tracks:
            made = target / part / f'LQ_{track}'
            if not (made / 'manifest.json').exists():
                metadata = target / part / f'metadata_{track}'
                recipe = read_recipe(option_file(TRACKS[track]))
                degrade_source(target / part / 'GT', made, recipe, metadata=metadata, say=say)
    checkpoint.write_json(target / 'names.json', names)
    say(f'{target}: as ./datasets/LDV of the option files; no HM, so that no number is one of the challenge')


def _even(opened: FrameSource, name: str, most: int | None) -> Iterator[Frame]:
    """Frames of even sides, as codecs want them."""
    height, width = (n // 2 * 2 for n in opened.size(name))
    count = min(opened.length(name), most or opened.length(name))
    return (opened.read(name, i, (0, 0, height, width)) for i in range(count))
