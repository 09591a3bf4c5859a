"""`votes pair`: which download came of which original, frame by frame and pixel by pixel, written as training pairs."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from votes.checkpoint import read_record, write_record
from votes.data.manifest import stored
from votes.data.related import Place, RelatedClip, RelatedSource, look_at, of_scale, related
from votes.data.sources import FolderSource
from votes.data.tools.layouts import Clips, Layout, videos_below
from votes.data.tools.prepare import Wish, write_layout
from votes.errors import UserError
from votes.platforms.habit import followed, of_most
from votes.platforms.match import Match, described, facts, judged, rank
from votes.processes.lease import Lease
from votes.relation.catalogue import Candidate, Catalogue
from votes.relation.colour import Colours
from votes.relation.looks import Look
from votes.relation.measure import Relation, measure
from votes.relation.space import Space
from votes.relation.timing import Timing

Say = Callable[[str], None]
VERSION = 4  # of what is kept between runs: another way of measuring is another version
WORK = '.pairing'
MOST = 3000  # frames of a file that are looked at
CLIPS = 5  # originals that are measured for a download
RIVALS = 2.0  # times as much left as of the likeliest: others are measured as thoroughly as it up to this
HOPELESS = 0.5  # correlation below which nothing more is measured
WORDS = ('order', 'matrix', 'range')  # of colours; the rest are numbers
LEAST = 5  # frames of a pair: the window of most networks
SMALLER = 0.9  # GT is not enlarged by more than this


@dataclass
class Outcome:
    """What a pairing came to.

    Attributes:
        pairs: name of the written clip -> where its frames are.
        matches: download -> match, all of them.
        unused: originals that no download came of.
        unreadable: file -> what is wrong with it.
    """

    pairs: dict[str, RelatedClip]
    matches: dict[str, Match]
    unused: list[str]
    unreadable: dict[str, str] = field(default_factory=dict)


def pair_folders(
    originals: Path,
    downloads: Path,
    target: Path,
    *,
    scale: int | None = None,
    workers: int = 1,
    wish: Wish | None = None,
    page: Callable[[Outcome, Path], None] | None = None,
    say: Say = print,
) -> Outcome:
    """Writes target/{HQ_frames,LQ_frames}/CLIP/00000000.png, lists, pairs.json, and what `page` makes of it.

    LQ pixels stay as they were downloaded (without borders); GT is cut, turned and, where the platform's factor is no
    whole number, averaged down to `scale` times their size.

    Args:
        scale: GT's size for LQ's; the commonest where None.
        workers: files that are looked at together.

    Raises:
        UserError: no such folders, another process works in `target`, or it holds pairs of other videos.
    """
    wish = wish or Wish()
    sides = {'original': videos_below(originals), 'download': videos_below(downloads)}
    target.parent.mkdir(parents=True, exist_ok=True)
    with Lease(target, 'pairing'):
        job = _Job(sides, target / WORK, say)
        _refuse_others(target, {'original': originals, 'download': downloads}, job.keys)
        matches = job.matches(workers)
        outcome = _paired(sides, matches, job.unreadable, scale, wish)
        _remember(target, outcome)
        if outcome.pairs:
            gt: Clips = {name: (RelatedSource(outcome.pairs, 'gt'), name) for name in outcome.pairs}
            lq: Clips = {name: (RelatedSource(outcome.pairs, 'lq'), name) for name in outcome.pairs}
            tenth = max(1, len(gt) // 10) if len(gt) > 1 else 0
            sizes = tenth, tenth if len(gt) > 3 else 0
            write_layout(Layout(gt, {'LQ_frames': lq}, sizes=sizes, grids={'LQ_frames': 'centre'}), target, wish, say)
        if page is not None:
            page(outcome, target)
        shutil.rmtree(target / WORK / 'looks', ignore_errors=True)
    return outcome


class _Job:
    """The looking and measuring, of which everything is kept that is done."""

    def __init__(self, sides: dict[str, Clips], work: Path, say: Say):
        self.sides, self.work, self.say = sides, work, say
        self.unreadable: dict[str, str] = {}
        self.keys = {side: {name: _key(place) for name, place in clips.items()} for side, clips in sides.items()}
        self.all_originals = _digest(sorted(self.keys['original'].items()))

    def matches(self, workers: int) -> dict[str, Match]:
        downloads = list(self.sides['download'])
        found = {name: match for name in downloads if (match := self._known(name)) is not None}
        open_ones = [name for name in downloads if name not in found]
        if not open_ones:
            return found
        self._look_at_all('original', self.sides['original'], workers)
        catalogue = Catalogue()
        for name in self.sides['original']:
            if name not in self.unreadable:
                catalogue.add(name, self._look('original', name))
        self._look_at_all('download', open_ones, workers)
        for number, name in enumerate(open_ones, 1):
            if name in self.unreadable:
                continue
            found[name] = self._matched(name, catalogue)
            self._keep(found[name])
            self.say(f'{number}/{len(open_ones)} {described(found[name])}')
        return self._by_habit(found)

    def _by_habit(self, found: dict[str, Match]) -> dict[str, Match]:
        """Clips whose own frames do not tell when they are shown lie as most do."""
        habit = of_most(found.values())
        for name, match in found.items():
            if habit is not None and (again := followed(match, habit, self._look)) is not None:
                found[name] = again
                self._keep(again)
                self.say(f'as most clips: {described(again)}')
        return found

    def _look_at_all(self, side: str, names: Iterable[str], workers: int) -> None:
        missing = [name for name in names if not self._file(side, name).exists()]
        if missing:
            (self.work / 'looks').mkdir(parents=True, exist_ok=True)
            self.say(f'looking at {len(missing)} {side}s')

        def one(name: str) -> None:
            place = self.sides[side][name]
            try:
                look_at((_own(place), place[1]), MOST).save(self._file(side, name))
            except UserError as error:
                self.unreadable[name] = ' '.join(str(error).split())
                self.say(f'cannot be read: {name}: {self.unreadable[name]}')

        with ThreadPoolExecutor(max(1, workers)) as pool:  # decoding releases Python's lock
            list(pool.map(one, missing))

    def _file(self, side: str, name: str) -> Path:
        return self.work / 'looks' / f'{_digest([name, self.keys[side][name]])}.npz'

    def _look(self, side: str, name: str) -> Look:
        self._look_at_all(side, [name], 1)
        return Look.load(self._file(side, name))

    def _record(self, name: str) -> Path:
        made_of = [VERSION, name, self.keys['download'][name], self.all_originals]
        return self.work / 'found' / f'{_digest(made_of)}.json'

    def _known(self, name: str) -> Match | None:
        try:
            content = read_record(self._record(name))
            relation = content.pop('relation')
            match = Match(**content, relation=None if relation is None else _relation(relation))
        except (ValueError, KeyError, TypeError):
            return None
        return match

    def _keep(self, match: Match) -> None:
        content = {key: value for key, value in vars(match).items() if key not in ('relation', 'left_out', 'pair')}
        relation = None if match.relation is None else match.relation.as_json()
        write_record(self._record(match.download), content | {'relation': relation})

    def _matched(self, name: str, catalogue: Catalogue) -> Match:
        lq = self._look('download', name)
        measured = self._measured(lq, catalogue.candidates(lq)[:CLIPS])
        found = judged(name, measured)
        if found.sure:
            return found
        known = dict(measured)
        for original, relation in self._measured(lq, catalogue.cropped(lq)[:CLIPS]):
            rivals = [(original, other) for other in (known.get(original), relation) if other is not None]
            known[original] = min(rivals, key=rank)[1]
        return judged(name, list(known.items()))

    def _measured(self, lq: Look, candidates: list[Candidate]) -> list[tuple[str, Relation]]:
        """Each candidate's relation; those that may be it are measured thoroughly."""
        measured: list[tuple[str, Relation]] = []
        for candidate in candidates:
            gt = self._look('original', candidate.name)
            ours, theirs = alike_in_time(lq, gt)
            relation = measure(ours, theirs, candidate.spaces, thorough=False)
            if relation is not None:
                measured.append((candidate.name, relation))
        measured.sort(key=rank)
        for i, (original, rough) in enumerate(measured):
            if rough.unexplained > RIVALS * measured[0][1].unexplained or rough.correlation < HOPELESS:
                break
            ours, theirs = alike_in_time(lq, self._look('original', original))
            measured[i] = original, measure(ours, theirs, [rough.space]) or rough
        return measured


def alike_in_time(lq: Look, gt: Look) -> tuple[Look, Look]:
    """Both with seconds, or both with frame numbers where one has no times."""
    timed = [len(x) > 1 and not np.array_equal(x.times, x.numbers) for x in (lq, gt)]
    if all(timed):
        return lq, gt
    return replace(lq, times=lq.numbers.astype(float)), replace(gt, times=gt.numbers.astype(float))


def _paired(
    sides: dict[str, Clips], matches: dict[str, Match], unreadable: dict[str, str], scale: int | None, wish: Wish
) -> Outcome:
    """The sure ones as clips of one scale; what does not fit becomes unsure, with its reason."""
    pairs: dict[str, RelatedClip] = {}
    of_pair: dict[str, Match] = {}
    for match in sorted(matches.values(), key=lambda m: (-m.confidence, m.download)):
        if not match.sure or match.original is None or match.relation is None:
            continue
        name = _free(match.original, pairs)
        pair = related(sides['download'][match.download], sides['original'][match.original], _once(match.relation))
        if len(pair.frames) < LEAST:
            match.left_out = f'only {len(pair.frames)} of its frames show one of the original each'
            continue
        pairs[name], of_pair[name], match.pair = pair, match, name
    common = Counter(max(1, round(pair.ratio())) for pair in pairs.values()).most_common(1)
    wanted = scale or (common[0][0] if common else 1)
    for name in [name for name, pair in pairs.items() if pair.ratio() < SMALLER * wanted]:
        of_pair[
            name
        ].left_out = f'the original is {pairs[name].ratio():.3g} times as large, {wanted} are needed (--scale)'
        of_pair[name].pair = ''
        del pairs[name]
    used = {match.original for name, match in of_pair.items() if name in pairs}
    unused = [name for name in sides['original'] if name not in used]
    return Outcome(of_scale(dict(sorted(pairs.items())), wanted), matches, unused, unreadable)


def _once(relation: Relation) -> Relation:
    """Repeated frames are left out: the first of each stays."""
    timing = relation.timing
    repeated = np.isin(timing.lq, timing.repeated())
    return replace(relation, timing=replace(timing, shown=np.where(repeated, -1, timing.shown)))


def _free(name: str, taken: dict[str, Any]) -> str:
    """The original's name, with a number for another download of it."""
    return next(n for n in (name, *(f'{name}_{i}' for i in range(2, len(taken) + 3))) if n not in taken)


def _remember(target: Path, outcome: Outcome) -> None:
    """Writes pairs.json; frames of clips that are others now are removed."""
    path = target / 'pairs.json'
    before = _remembered(target)
    clips = {}
    for name, pair in outcome.pairs.items():
        match = next(m for m in outcome.matches.values() if m.pair == name)
        numbers = [n for n, _ in pair.frames]
        clips[name] = {
            'original': str(_path(pair.gt)),
            'download': str(_path(pair.lq)),
            'keys': [_key(pair.gt), _key(pair.lq)],
            'confidence': match.confidence,
            'scale': pair.scale,
            'ratio': list(pair.space.scale),
            'first': numbers[0],
            'lq_frames': numbers,
            'gt_frames': [s for _, s in pair.frames],
            'space': asdict(pair.space),
            'content': list(pair.content),
            'colours': pair.relation.colours.mistakes(),
            'facts': facts(pair.relation),
        }
    for name, entry in before.items():
        if json.loads(json.dumps(clips.get(name))) != entry:
            for side in ('HQ_frames', 'LQ_frames'):
                shutil.rmtree(target / side / name, ignore_errors=True)
    unsure = {
        m.download: {'original': m.original, 'confidence': m.confidence, 'why': m.why}
        for m in outcome.matches.values()
        if not m.sure
    }
    rest = {'not_paired': unsure, 'originals_unused': outcome.unused, 'unreadable': outcome.unreadable}
    write_record(path, {'clips': clips, **rest})


def _remembered(target: Path) -> dict[str, Any]:
    """What pairs.json says of each clip that is there; nothing of all of them where it cannot be believed."""
    try:
        return dict(read_record(target / 'pairs.json')['clips'])
    except ValueError:
        return {path.name: {} for side in ('HQ_frames', 'LQ_frames') for path in (target / side).glob('*/')}


def _refuse_others(target: Path, folders: dict[str, Path], keys: dict[str, dict[str, str]]) -> None:
    """
    Raises:
        UserError: pairs in `target` are of videos that lie elsewhere than in `folders`, and whose contents these lack.
    """
    before = _remembered(target)
    fix = 'another output folder, or move this one away'
    if not all(before.values()) and not (target / WORK).is_dir():
        raise UserError('frames are there that `votes pair` did not write', where=target, value=[*before][:5], fix=fix)
    for name, entry in before.items():
        for (side, folder), key in zip(folders.items(), entry.get('keys', ()), strict=False):
            inside = Path(entry[side]).resolve().is_relative_to(folder.resolve())
            if not inside and key not in keys[side].values():
                raise UserError(
                    f'the pairs that are there were made of other {side}s, and would be replaced',
                    where=target,
                    value=f'{len(before)} pairs; {name} is {entry["original"]} with {entry["download"]}',
                    fix=fix,
                )


def _relation(content: dict[str, Any]) -> Relation:
    """What Relation.as_json gave."""
    space, timing, colours = (content.pop(key) for key in ('space', 'timing', 'colours'))
    kinds = {'shown': np.int64, 'lq': np.int64, 'clear': np.bool_, 'blended': np.bool_}
    numbers = {key: float(content.pop(key)) for key in ('correlation', 'motion', 'unexplained', 'seen', 'covered')}
    top, left, height, width = content['content']
    first, second, third, fourth = content['window']
    return Relation(
        Space(space['mirror'], space['turn'], tuple(space['scale']), tuple(space['shift'])),
        Timing(**{key: np.array(value, kinds[key]) for key, value in timing.items()}),
        Colours(**{k: v if k in WORDS else float(v) for k, v in colours.items()}),  # type: ignore[arg-type]
        (top, left, height, width),
        (first, second, third, fourth),
        **numbers,
    )


def _own(place: Place) -> Any:
    """A frame source of its own for a thread: a decoder belongs to one."""
    source = place[0]
    return source if isinstance(source, FolderSource) else type(source)(source.root)  # type: ignore[attr-defined,call-arg]


def _path(place: Place) -> Path:
    """The file, or the folder of frames, of a clip."""
    source, clip = place
    own = getattr(source, 'path', None)
    return Path(own(clip) if callable(own) else Path(source.root) / clip).absolute()  # type: ignore[attr-defined]


def _key(place: Place) -> str:
    """Of what a file or a folder of frames holds, wherever it lies: whether it is what was looked at."""
    return _digest([stored(*place), VERSION])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:20]
