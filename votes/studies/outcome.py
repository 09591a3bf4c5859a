"""The rows of a study: what was measured, beside what was published, and a verdict."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml

from votes.archs import build_network
from votes.checkpoint import with_infinity
from votes.reports.curves import read_rows
from votes.reports.protocol import described, of_options
from votes.studies.runner import Outcome, Runner
from votes.studies.study import Row, Study

PASS, FAIL, NOT_RUN = 'PASS', 'FAIL', 'NOT RUN'
BASELINES = ('bicubic', 'bilinear')


@dataclass
class Result:
    """One row with its numbers.

    Attributes:
        ours: metric -> mean; of several runs the mean over them.
        spread: metric -> standard deviation over several runs.
        cost: 'parameters', and 'train_s': seconds of all training jobs behind it, the mean over several runs.
        verdict: PASS, FAIL or NOT RUN; `reason` says why.
        curve: (iteration, PSNR) of a fine-tuning run.
        protocol: how it was measured, as its results files say.
    """

    row: Row
    verdict: str
    reason: str = ''
    ours: dict[str, float] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)
    baseline: dict[str, float] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    curve: list[tuple[int, float]] = field(default_factory=list)
    protocol: list[str] = field(default_factory=list)

    @property
    def difference(self) -> dict[str, float]:
        """Ours minus published."""
        return {m: self.ours[m] - value for m, value in self.row.published.items() if m in self.ours}


def results_of(study: Study, runner: Runner) -> list[Result]:
    """Every row of a study after its jobs have ended."""
    return [_result(study, row, runner) for row in study.rows]


def _result(study: Study, row: Row, runner: Runner) -> Result:
    missing = [_told(name, runner.outcomes[name]) for name in row.jobs if runner.outcomes[name].state != 'done']
    if row.curve in runner.own:
        missing.append(f'weights of {row.curve} are given: there is no curve of its training')
    if missing:
        return Result(row, NOT_RUN, '; '.join(dict.fromkeys(missing)))
    found = Result(row, PASS)
    tests = [_means(runner.folder / 'results' / name / 'results.json') for name in row.results]
    for metric in tests[0]['restored'] if tests else {}:
        values = [test['restored'][metric] for test in tests]
        found.ours[metric] = fmean(values)
        if len(values) > 1:
            found.spread[metric] = stdev(values)
    found.protocol = list(dict.fromkeys(_protocol(runner.folder / 'results' / name) for name in row.results))
    for name in BASELINES:
        if tests and name in tests[0]:
            found.baseline[name] = fmean(test[name]['psnr'] for test in tests if 'psnr' in test[name])
    if study.costs and row.results:
        found.cost = _cost(row, runner)
    if row.start:
        found.baseline['start'] = _means(runner.folder / 'results' / row.start / 'results.json')['restored']['psnr']
    if row.measure:
        content = json.loads((runner.folder / 'results' / row.measure / 'dfm_error.json').read_text())
        found.ours |= {name: content[name] for name in ('correlation', 'correlation_lq')}
        found.protocol.append(content['what'])
    if row.curve:
        run = runner.folder / 'experiments' / row.curve
        _read_curve(found, run)
        found.protocol.append(described(of_options(yaml.safe_load((run / 'options.yml').read_text()))))
    found.verdict, found.reason = _verdict(study, found)
    return found


def _cost(row: Row, runner: Runner) -> dict[str, float]:
    """Parameters of the network that was tested, and how long training took."""
    about = json.loads((runner.folder / 'results' / row.results[0] / 'results.json').read_text())['network_g']
    arguments = {key: value for key, value in about.items() if key != 'bin_model'}  # weights are not needed
    seconds = [sum(runner.outcomes[job].seconds for job in runner.led_to(name)) for name in row.results]
    return {'parameters': sum(p.numel() for p in build_network(arguments).parameters()), 'train_s': fmean(seconds)}


def _told(name: str, outcome: Outcome) -> str:
    """The root cause alone where a job did not run for something that is missing."""
    if outcome.state == 'not run' and outcome.reason:
        return outcome.reason
    return f'{name}: {outcome.state}{f", {outcome.reason}" if outcome.reason else ""}'


def _protocol(folder: Path) -> str:
    return described(json.loads((folder / 'results.json').read_text())['protocol'])


def _means(path: Path) -> dict[str, dict[str, float]]:
    """Row -> metric -> mean of the first test set in a results file."""
    results = with_infinity(json.loads(path.read_text()))['results']
    means: dict[str, Any] = next(iter(results.values()))['mean']
    return means


def _read_curve(found: Result, run: Path) -> None:
    """Best PSNR, that of the first validation, and how far they are apart."""
    if 'start' in found.baseline:
        found.curve.append((0, found.baseline['start']))
    rows = read_rows(run / 'metrics.jsonl')
    found.curve += [(r['iter'], r['restored_psnr']) for r in rows if 'restored_psnr' in r]
    validations = [value for iteration, value in found.curve if iteration > 0]
    found.ours |= {
        'psnr': max(validations),
        'psnr_first': validations[0],
        'below_best_after_first': max(validations) - validations[0],
    }
    last = [r for r in rows if 'bicubic_psnr' in r][-1:]
    if last:
        found.baseline['bicubic'] = last[0]['bicubic_psnr']


def _verdict(study: Study, found: Result) -> tuple[str, str]:
    """Published values are met within the tolerance, from above as well: more may be another protocol or other data;
    demands are met, the baseline is beaten."""
    problems, row = [], found.row
    for metric, value in row.published.items():
        tolerance = study.tolerance.get(metric, 0)
        if metric not in found.ours:
            problems.append(f'{metric} was not measured')
        elif found.ours[metric] < value - tolerance:
            problems.append(f'{metric} {found.ours[metric]:.4f} is below {value} - {tolerance}')
        elif found.ours[metric] > value + tolerance:
            problems.append(
                f'{metric} {found.ours[metric]:.4f} is above {value} + {tolerance}: the same data, protocol?'
            )
    for metric, value in row.at_least.items():
        if metric not in found.ours or found.ours[metric] < value:
            problems.append(f'{metric} {found.ours.get(metric)} is below {value}')
    for metric, value in row.above.items():
        if metric not in found.ours or found.ours[metric] <= value:
            problems.append(f'{metric} {found.ours.get(metric)} is not above {value}')
    for metric, value in row.at_most.items():
        if metric not in found.ours or found.ours[metric] > value:
            problems.append(f'{metric} {found.ours.get(metric)} is above {value}')
    if row.beats and found.ours['psnr'] <= found.baseline[row.beats]:
        problems.append(f'PSNR {found.ours["psnr"]:.4f} does not beat {row.beats} ({found.baseline[row.beats]:.4f})')
    return (FAIL, '; '.join(problems)) if problems else (PASS, '')
