"""Results of several evaluations next to each other."""

from __future__ import annotations

import argparse
import math
import platform
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

import votes
from votes.checkpoint import read_record
from votes.errors import UserError, explained
from votes.reports.protocol import STYLES, described, lower_is_better, shown

RESTORED = 'restored'
Means = dict[str, dict[str, float]]  # row ('bicubic', 'restored') -> metric -> value


@dataclass
class Entry:
    """What one results file says of one test set.

    Attributes:
        whole: the hash of all of its data, where it is known.
        clips: clip -> hash of its pictures, where they are known.
    """

    label: str
    content: dict[str, Any]
    whole: str | None
    clips: dict[str, str]

    @property
    def frames(self) -> dict[tuple[str, int], dict[str, Any]]:
        return {(frame['clip'], frame['index']): frame for frame in self.content['frames']}

    @property
    def amount(self) -> str:
        clips = {frame['clip'] for frame in self.content['frames']}
        return f'{len(self.content["frames"])} frames of {len(clips)} clips'


def read_results(path: Path) -> dict[str, Any]:
    """What `votes test` or `votes metrics` wrote of an evaluation.

    Raises:
        UserError: it cannot be read, is damaged, or is something else.
    """
    with explained('results file cannot be read', ValueError, where=path, fix='written by `votes test`'):
        content = read_record(path, unsigned=True)
    if not {'name', 'protocol', 'results'} <= content.keys() or 'metrics' not in content['protocol']:
        raise UserError('not a results file of `votes test`', where=path)
    return content


def results_file(
    first: Path, second: Path, lq: Path | None, protocol: dict[str, Any], content: dict[str, Any], more: dict[str, Any]
) -> dict[str, Any]:
    """What `votes metrics` writes of `first` measured against the reference `second`, in the form of `votes test`."""
    versions = {'votes': votes.__version__, 'torch': torch.__version__, 'python': platform.python_version()}
    return {
        'name': first.stem,
        'protocol': protocol,
        'sides': {'restored': str(first), 'reference': str(second), 'lq': lq and str(lq)},
        'versions': {**versions, 'opencv': version('opencv-python-headless'), 'av': version('av')},
        **more,
        'results': {second.stem: content},
    }


def comparison(paths: list[Path], style: str = 'text', any_protocol: bool = False) -> str:
    """A table for each test set: the baselines once, then each evaluation and its gain over the last baseline.

    Evaluations of different frames of the same pictures are compared on the frames that all have. A gain is positive
    where a value is better, also of metrics of which lower values are better.

    Args:
        style: text, markdown, latex or csv.
        any_protocol: also evaluations that were measured differently.

    Raises:
        UserError: a file is no results file, two were measured under different protocols, or on other pictures.
    """
    runs = [read_results(path) for path in paths]
    for path, run in zip(paths, runs, strict=True):
        if run['protocol']['metrics'] != runs[0]['protocol']['metrics'] and not any_protocol:
            raise UserError(
                'measured under another protocol: the numbers cannot be compared',
                where=path,
                value=run['protocol']['metrics'],
                fix=f'{paths[0]} has {runs[0]["protocol"]["metrics"]}',
            )
    names = labels(paths, [run['name'] for run in runs])
    lines = []
    for name in dict.fromkeys(name for run in runs for name in run['results']):
        entries = [_entry(label, run, name) for label, run in zip(names, runs, strict=True) if name in run['results']]
        lines += _of_set(name, entries, lower_is_better(runs[0]['protocol']), style)
        absent = [label for label, run in zip(names, runs, strict=True) if name not in run['results']]
        lines += _remark([f'not measured on {name}: {", ".join(absent)}'] if absent else [], style)
    protocols = list(dict.fromkeys(described(run['protocol']) for run in runs))
    return '\n'.join([*lines, *_remark(protocols, style)])


def labels(paths: list[Path], names: list[str]) -> list[str]:
    """A name for each run: runs of one name also have the places of their files."""
    counts = Counter(names)
    found = [f'{n} ({p.parent})' if counts[n] > 1 else n for p, n in zip(paths, names, strict=True)]
    again = Counter(found)
    found = [f'{n} ({p})' if again[label] > 1 else label for p, n, label in zip(paths, names, found, strict=True)]
    twice = Counter(found)
    return [f'{label} [{i}]' if twice[label] > 1 else label for i, label in enumerate(found, 1)]


def _entry(label: str, run: dict[str, Any], name: str) -> Entry:
    """`votes test` keeps what data are recognised by with its protocol, `votes metrics` beside it."""
    data = run['protocol'].get('data', {}).get(name) or run.get('data') or {}
    return Entry(label, run['results'][name], data.get('sha256') or data.get('reference'), data.get('of_clips') or {})


def _of_set(name: str, entries: list[Entry], lower: set[str], style: str) -> list[str]:
    of_each, title, remarks = _comparable(name, entries)
    metrics = list(dict.fromkeys(metric for found in of_each for metric in found[RESTORED]))
    baselines = [row for row in of_each[0] if row != RESTORED]
    rows = {f'LQ {row}' if not row.startswith('LQ') else row: of_each[0][row] for row in baselines}
    rows |= {entry.label: found[RESTORED] for entry, found in zip(entries, of_each, strict=True)}
    base = of_each[0][baselines[-1] if baselines else RESTORED]
    table = [['', *(column for m in metrics for column in (m, 'gain'))]]
    for row, values in rows.items():
        cells = [(values.get(m), base.get(m), -1 if m in lower else 1) for m in metrics]
        told = [(shown(a) if a is not None else '-', _gain(a, b, sign)) for a, b, sign in cells]
        table.append([row, *(text for both in told for text in both)])
    return [*_remark([f'{name}, {title or entries[0].amount}'], style), *STYLES[style](table), *_remark(remarks, style)]


def _comparable(name: str, entries: list[Entry]) -> tuple[list[Means], str, list[str]]:
    """Means of the same frames of every evaluation, what they are of if not of all, and what is to be said.

    Raises:
        UserError: pictures under the same names are not the same ones, or there are no common frames.
    """
    first = entries[0]
    common = set(first.frames)
    for other in entries[1:]:
        common &= other.frames.keys()
        known = first.clips.keys() & other.clips.keys() & {clip for clip, _ in common}
        apart = sorted(clip for clip in known if first.clips[clip] != other.clips[clip])
        same_frames = other.frames.keys() == first.frames.keys()
        if apart or (same_frames and None not in (other.whole, first.whole) and other.whole != first.whole):
            raise UserError(
                'measured on other pictures: the numbers cannot be compared',
                where=f'{name} of {first.label} and {other.label}',
                value=', '.join(apart[:5]) or 'the checksums of the data differ',
                fix='evaluate both on the same data',
            )
    if not common:
        amounts = ', '.join(f'{entry.label} {entry.amount}' for entry in entries)
        raise UserError('no common frames: the numbers cannot be compared', where=name, value=amounts)
    clips = {clip for clip, _ in common}
    untold = [e.label for e in entries if not clips <= e.clips.keys() and (e.whole is None or e.whole != first.whole)]
    remarks = []
    if untold and len(entries) > 1:
        remarks.append(f'whether the pictures are the same is not known of {", ".join(untold)}')
    if all(common == entry.frames.keys() for entry in entries):
        return [entry.content['mean'] for entry in entries], '', remarks
    amounts = ', '.join(f'{entry.label} has {entry.amount}' for entry in entries)
    remarks.insert(0, f'only the frames that all have are compared: {amounts}')
    title = f'{len(common)} common frames of {len(clips)} clips'
    return [means(clip_means([entry.frames[key] for key in sorted(common)])) for entry in entries], title, remarks


def clip_means(frames: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Row -> metric -> clip -> mean over its frames, of frames as results files have them; what is restored last."""
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for frame in frames:
        for row, found in frame.items():
            for metric, value in found.items() if isinstance(found, dict) else ():
                values.setdefault(row, {}).setdefault(metric, {}).setdefault(frame['clip'], []).append(value)
    return {
        row: {metric: {clip: fmean(of_clip) for clip, of_clip in clips.items()} for metric, clips in found.items()}
        for row, found in sorted(values.items(), key=lambda item: item[0] == RESTORED)
    }


def means(clips: dict[str, dict[str, dict[str, float]]]) -> Means:
    """Means over clips."""
    return {row: {metric: fmean(of.values()) for metric, of in found.items()} for row, found in clips.items()}


def _gain(value: float | None, base: float | None, sign: int) -> str:
    both_infinite = value is not None and value == base and math.isinf(value)
    return '-' if value is None or base is None or both_infinite else shown(sign * (value - base) + 0.0, '+')


def _remark(lines: list[str], style: str) -> list[str]:
    """Lines around a table, as comments where the style has no place for text."""
    before = {'csv': '# ', 'latex': '% '}.get(style, '')
    return [before + line for line in lines]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('results', type=Path, nargs='+', metavar='results.json', help='files that `votes test` wrote')


def run(args: argparse.Namespace) -> None:
    print(comparison(args.results))
