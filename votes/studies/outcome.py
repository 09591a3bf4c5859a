"""The rows of a study: what was measured, beside what was published, and a verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import yaml

from votes.archs import build_network
from votes.reports.compare import read_results
from votes.reports.curves import validations
from votes.reports.protocol import described, of_options
from votes.studies import claims
from votes.studies.claims import INCONCLUSIVE, MEASURED, NOT_RUN, SEEDS, Interval
from votes.studies.runner import Runner
from votes.studies.study import Row, Study

BASELINES = ('bicubic', 'bilinear', 'LQ')
# of a training, what may differ between the two sides of a gain: where a map comes from is what is compared
MAY_DIFFER = ('datasets.train.dataroot_dfm', 'datasets.train.codec_metadata')


class NoPair(Exception):
    """Two results that are compared are not of the same clips, or their networks were trained differently."""


@dataclass
class Result:
    """One row with its numbers.

    Attributes:
        ours: metric -> mean over runs, a gain where the row claims one; 'correlation', 'order' (Spearman's).
        interval: metric -> where it may lie, see claims.bootstrap.
        spread: metric -> standard deviation over several runs.
        sides: of a gain, 'with' and 'without': metric -> mean.
        items: of an order, name -> mean.
        baseline: interpolation -> PSNR in dB.
        cost: 'parameters'; 'train_s', seconds of all training jobs behind it; 'steps' of a training that was given
            minutes; what `video_costs` measures: means over several runs.
        verdict: see claims.VERDICTS; `reason` says why.
        curve: job -> (iteration, PSNR) of a fine-tuning run.
        protocol: how it was measured, as its results files say.
    """

    row: Row
    verdict: str
    reason: str = ''
    ours: dict[str, float] = field(default_factory=dict)
    interval: dict[str, Interval] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)
    sides: dict[str, dict[str, float]] = field(default_factory=dict)
    items: dict[str, float] = field(default_factory=dict)
    baseline: dict[str, float] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    curve: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    protocol: list[str] = field(default_factory=list)

    @property
    def difference(self) -> dict[str, float]:
        """Ours minus published."""
        return {m: self.ours[m] - value for m, value in self.row.published.items() if m in self.ours}


def results_of(study: Study, runner: Runner) -> list[Result]:
    """Every row of a study after its jobs have ended."""
    return [_result(study, row, runner) for row in study.rows]


def _result(study: Study, row: Row, runner: Runner) -> Result:
    """A row by the runs that are there; a claim needs some of them, a row of values all."""
    found = Result(row, MEASURED)
    runs = _runs(row, runner)
    ended = {name: runner.outcomes[name] for name in row.jobs}
    lacking = list(dict.fromkeys(outcome.told(name) for name, outcome in ended.items() if outcome.state != 'done'))
    claim = bool(row.minus or row.order or row.measure)
    if not runs or (lacking and not claim):
        return Result(row, NOT_RUN, '; '.join(lacking) or 'no runs')
    if study.costs and row.results:
        found.cost = _cost(row, runner)
    try:
        judge = _order if row.order else _correlation if row.measure else _gain if row.minus else _values
        verdicts = judge(study, found, runs, runner)
    except NoPair as error:
        return Result(row, NOT_RUN, f'no pair: {error}')
    _video_costs(study, found, runner)
    if claim and len(runs) < SEEDS:
        plural = 's' if len(runs) > 1 else ''
        verdicts = [(INCONCLUSIVE, f'{len(runs)} seed{plural}, a claim takes {SEEDS}; {"; ".join(lacking)}')]
    for job in row.curve:
        if job not in runner.own and runner.outcomes[job].state == 'done':
            _read_curve(found, job, runner.folder / 'experiments' / job)
    found.verdict = claims.together([verdict for verdict, _ in verdicts])
    found.reason = '; '.join(reason for _, reason in verdicts if reason)
    return found


def _runs(row: Row, runner: Runner) -> list[list[str]]:
    """The jobs of each seed that was measured on all sides: those of `results`, and those that they are a gain over."""
    sides = list(row.order.values()) or [row.results or row.measure, *([row.others] if row.others else [])]
    runs = [list(run) for run in zip(*sides, strict=True)]
    return [run for run in runs if all(runner.outcomes[name].state == 'done' for name in run)]


Verdicts = list[tuple[str, str]]


class Measured:
    """A results file of a test job."""

    def __init__(self, runner: Runner, job: str):
        self.job, self.folder, self.versions = job, runner.folder / 'results' / job, runner.study.versions
        content = read_results(self.folder / 'results.json')
        first: dict[str, Any] = next(iter(content['results'].values()))
        self.protocol, self.mean, self.clips = content['protocol'], first['mean'], first['clips']
        self.frames = [(frame['clip'], frame['index']) for frame in first['frames']]

    def of(self, metric: str, row: str = 'restored') -> list[float]:
        """Of each clip, or of each video that several clips are versions of the mean."""
        return by_video(self.clips[row][metric], self.versions)


def by_video(clips: Mapping[str, float], versions: bool) -> list[float]:
    """The values of clips, where QP/NAME are `versions` of one video their mean."""
    values: dict[str, list[float]] = {}
    for clip, value in clips.items():
        values.setdefault(clip.split('/', 1)[-1] if versions else clip, []).append(value)
    return [fmean(several) for several in values.values()]


def _values(study: Study, found: Result, runs: list[list[str]], runner: Runner) -> Verdicts:
    """Means, compared with published ones."""
    tests = [Measured(runner, job) for (job,) in runs]
    for metric in tests[0].mean['restored']:
        values = [test.mean['restored'][metric] for test in tests]
        found.ours[metric] = fmean(values)
        if len(values) > 1:
            found.spread[metric] = stdev(values)
    _say_how(found, tests)
    verdicts = []
    for metric, value in found.row.published.items():
        if metric not in found.ours:
            verdicts.append((NOT_RUN, f'{metric} was not measured'))
            continue
        verdict, reason = claims.judged_value(found.ours[metric], value, study.tolerance.get(metric, 0))
        verdicts.append((verdict, f'{metric} {reason}' if reason else ''))
    return verdicts


def _gain(study: Study, found: Result, runs: list[list[str]], runner: Runner) -> Verdicts:
    """Paired differences over clips and seeds."""
    row = found.row
    pairs = [(Measured(runner, run[0]), Measured(runner, run[-1])) for run in runs]  # a baseline is of the same job
    for run, pair in zip(runs, pairs, strict=True):
        check_pair(*pair)
        if row.others and row.alike:
            check_trainings(runner, *run)
    of_other = row.minus if isinstance(row.minus, str) else 'restored'
    verdicts = []
    for metric in row.published or row.metrics:
        if metric not in pairs[0][0].mean[of_other]:
            verdicts.append((NOT_RUN, f'{metric} was not measured'))
            continue
        sides = [(ours.of(metric), other.of(metric, of_other)) for ours, other in pairs]
        values = np.array([np.subtract(a, b) for a, b in sides])[None]
        for side, number in (('with', 0), ('without', 1)):
            found.sides.setdefault(side, {})[metric] = float(np.mean([both[number] for both in sides]))
        verdicts.append(_judged(study, found, metric, values))
    _say_how(found, [ours for ours, _ in pairs])
    return verdicts


def _judged(study: Study, found: Result, metric: str, values: Any) -> tuple[str, str]:
    """The verdict on a claim whose number is the mean of `values` (1, S, C)."""
    if not np.isfinite(values).all():
        return INCONCLUSIVE, f'{metric}: a difference is not finite'
    interval = found.interval[metric] = claims.bootstrap(values)
    found.ours[metric] = interval.value
    published = found.row.published.get(metric)
    if published is not None:
        verdict, reason = claims.judged_against(interval, published, study.tolerance.get(metric, 0))
    else:
        verdict, reason = claims.judged_above(interval, found.row.above or 0, study.resolution.get(metric, 0))
    return verdict, f'{metric} {reason}' if reason else ''


def _order(study: Study, found: Result, runs: list[list[str]], runner: Runner) -> Verdicts:
    """Spearman's correlation of measured and published means."""
    row, metric = found.row, study.figure.y
    tests = [[Measured(runner, job) for job in run] for run in runs]  # seeds, items
    for run in tests:
        for test in run[1:]:
            check_pair(run[0], test)
    values = np.array([[test.of(metric) for test in run] for run in tests]).transpose(1, 0, 2)
    found.items = dict(zip(row.order, values.mean((1, 2)).tolist(), strict=True))
    interval = claims.bootstrap(values, claims.rank_correlation(list(row.published.values())))
    found.ours['order'], found.interval['order'] = interval.value, interval
    _say_how(found, [test for run in tests for test in run])
    return [claims.judged_above(interval, row.above or 0, study.resolution.get('order', 0))]


def _correlation(study: Study, found: Result, runs: list[list[str]], runner: Runner) -> Verdicts:
    """Of degradation map and error."""
    contents = [json.loads((runner.folder / 'results' / job / 'dfm_error.json').read_text()) for (job,) in runs]
    found.ours['correlation_lq'] = fmean(content['correlation_lq'] for content in contents)
    found.protocol = list(dict.fromkeys(content['what'] for content in contents))
    values = np.array([list(content['clips']['correlation'].values()) for content in contents])[None]
    return [_judged(study, found, 'correlation', values)]


def _say_how(found: Result, tests: Sequence[Measured]) -> None:
    """The protocol, and the PSNR of interpolations."""
    found.protocol = list(dict.fromkeys(described(test.protocol) for test in tests))
    for name in BASELINES:
        if name in tests[0].mean and 'psnr' in tests[0].mean[name]:
            found.baseline[name] = fmean(test.mean[name]['psnr'] for test in tests)


def check_pair(ours: Measured, other: Measured) -> None:
    """
    Raises:
        NoPair: they were not measured in the same way on the same frames.
    """
    if ours.frames != other.frames:
        raise NoPair(f'{ours.job} and {other.job} were measured on different frames')
    for key in ('metrics', 'data'):
        if ours.protocol.get(key) != other.protocol.get(key):
            raise NoPair(f'{ours.job} and {other.job} differ in {key} of the protocol')


def check_trainings(runner: Runner, ours: str, other: str) -> None:
    """
    Raises:
        NoPair: the networks of two test jobs were trained on other data, in another order, or for other steps.
    """
    trained = [runner.study.jobs[job].weights for job in (ours, other)]
    if any(name is None or name in runner.own for name in trained):
        return  # how weights of one's own were trained is not known here
    records = [runner.read(str(name)).get('record') or {} for name in trained]
    sides = []
    for record in records:
        known = {**record.get('options', {}), **{k: about['digest'] for k, about in record.get('data', {}).items()}}
        own = [key for key in known if key.startswith(('datasets.train.', 'train.')) and key not in MAY_DIFFER]
        sides.append({key: known[key] for key in [*own, 'manual_seed'] if key in known})
    different = [key for key in sorted(sides[0].keys() | sides[1].keys()) if sides[0].get(key) != sides[1].get(key)]
    if different:
        raise NoPair(f'{trained[0]} and {trained[1]} were trained differently: {", ".join(different[:5])}')


def _video_costs(study: Study, found: Result, runner: Runner) -> None:
    """Means of what `video_costs` jobs measured, and how far the warping error is above the interpolated frames'."""
    done = [job for job in found.row.costs if runner.outcomes[job].state == 'done']
    contents = [json.loads((runner.folder / 'results' / job / 'video_costs.json').read_text()) for job in done]
    if not contents:
        return
    found.cost |= {name: fmean(content['mean'][name] for content in contents) for name in contents[0]['mean']}
    sides = [
        [
            by_video({clip: values[name] for clip, values in content['clips'].items()}, study.versions)
            for name in ('warping_error', 'warping_error_bicubic')
        ]
        for content in contents
    ]
    above = np.array([np.subtract(ours, bicubic) for ours, bicubic in sides])
    found.interval['warping_error'] = claims.bootstrap(above[None])


def _cost(row: Row, runner: Runner) -> dict[str, float]:
    """Parameters of the network that was tested, how long training took, and its steps where that was to be found."""
    done = [name for name in row.results if runner.outcomes[name].state == 'done']
    about = read_results(runner.folder / 'results' / done[0] / 'results.json')['network_g']
    arguments = {key: value for key, value in about.items() if key != 'bin_model'}  # weights are not needed
    seconds = [sum(runner.outcomes[job].seconds for job in runner.led_to(name)) for name in done]
    cost = {'parameters': sum(p.numel() for p in build_network(arguments).parameters()), 'train_s': fmean(seconds)}
    trained = runner.study.jobs[done[0]].weights
    if trained and runner.study.jobs[trained].minutes:
        record = runner.read(trained).get('record') or {}
        cost |= {'steps': steps} if (steps := record.get('options', {}).get('train.total_iter')) else {}
    return cost


def _read_curve(found: Result, job: str, run: Path) -> None:
    """The validations of a fine-tuning run."""
    found.curve[job] = validations(run)
    how = described(of_options(yaml.safe_load((run / 'options.yml').read_text())))
    if how not in found.protocol:
        found.protocol.append(how)
