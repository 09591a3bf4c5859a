"""Runs the jobs of a study: what is missing, several at a time where devices allow, and none twice."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import votes
from votes import checkpoint
from votes.errors import UserError
from votes.options import load_options
from votes.options.shipped import option_file
from votes.options.yaml_file import read_option_file
from votes.processes.parent import child_environment
from votes.processes.signals import PREEMPTED, StopRequests
from votes.reports.curves import read_rows
from votes.studies.causes import cause, last_words
from votes.studies.study import SOURCE, Job, Study, as_override, each_text
from votes.training.provenance import Record, changes, record
from votes.training.run_log import environment

Say = Callable[[str], None]
TIMED = 10  # steps whose mean time is the pace of a training, after as many that are not counted


@dataclass
class Outcome:
    """How a job ended: 'done', 'failed', 'not run' or 'stopped', why, and in how many seconds.

    Attributes:
        key: of the provenance record of what it was made from.
        made: file -> SHA-256 of what it made.
        stale: why it ran again, where it had been done before.
    """

    state: str
    reason: str = ''
    seconds: float = 0
    key: str = ''
    made: dict[str, str] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)

    def told(self, name: str) -> str:
        """What became of a job of this name: the root cause alone where it did not run for something missing."""
        if self.state == 'not run' and self.reason:
            return self.reason
        return f'{name}: {self.state}{f", {self.reason}" if self.reason else ""}'


@dataclass
class Runner:
    """The jobs of a study in a folder of its own: experiments/, results/, data/, logs/ and jobs/.

    Args:
        data: folder that stands for ./datasets in the option files.
        devices: GPUs, a job on each at a time; none for the CPU.
        weights: training job -> a file of one's own that takes its place; what only such jobs need does not run. A
            job of several seeds, called NAME_0, NAME_1 ..., may be named NAME: the file takes the place of the first.
        train: False evaluates what is there, and trains nothing.

    Raises:
        UserError: `weights` names a job that trains nothing, or a file that is not there.
    """

    study: Study
    folder: Path
    data: Path | None
    devices: list[str]
    say: Say = print
    weights: dict[str, Path] = field(default_factory=dict)
    train: bool = True

    def __post_init__(self) -> None:
        self.own = dict(_own(self.study, name, path) for name, path in self.weights.items())
        self.outcomes: dict[str, Outcome] = {}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def run(self) -> dict[str, Outcome]:
        """Runs what is not done yet. A job that fails is reported, and does not stop others than those it feeds."""
        for name in ('logs', 'jobs', 'jobs/pace'):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        spared = dict.fromkeys(self.spared(), Outcome('not run', 'only needed by trainings whose weights are given'))
        self.outcomes |= spared
        waiting = {name: job for name, job in self.study.jobs.items() if name not in spared}
        free = list(self.devices) or ['']
        futures: dict[Future[Outcome], tuple[str, str]] = {}
        with ThreadPoolExecutor(len(free)) as pool, StopRequests() as stop:
            while waiting or futures:
                if stop.asked():
                    for process in list(self.running.values()):
                        process.terminate()
                    waiting.clear()
                ready = [n for n, job in waiting.items() if self.outcomes.keys() >= set(job.needs)]
                ready.sort(key=lambda n: waiting[n].trains)  # what is trained is tested next
                for name in ready[: len(free)]:
                    job, device = waiting.pop(name), free.pop(0)
                    futures[pool.submit(self._finish, name, job, device)] = name, device
                done, _ = wait(futures, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    name, device = futures.pop(future)
                    free.append(device)
                    self.outcomes[name] = future.result()
        for name in self.study.jobs:
            self.outcomes.setdefault(name, Outcome('stopped', 'the study was stopped before it'))
        return self.outcomes

    def spared(self) -> list[str]:
        """Jobs that nothing needs any more where weights are given."""
        if not self.own:
            return []
        needed: set[str] = set()
        open_ends = [name for row in self.study.rows for name in row.jobs] + list(self.own)
        while open_ends:
            name = open_ends.pop()
            if name not in needed:
                needed.add(name)
                open_ends += [] if name in self.own else self.study.jobs[name].needs
        return [name for name in self.study.jobs if name not in needed]

    def _finish(self, name: str, job: Job, device: str) -> Outcome:
        """Runs one job, if it is to be run, and remembers how it ended and what it was made from."""
        if name in self.own:
            sums = {str(self.own[name]): checkpoint.sha256(self.own[name])}
            return Outcome('done', f'weights given: {self.own[name]}', key=sums[str(self.own[name])], made=sums)
        before, why, made_of = self.read(name), list[str](), None
        if missing := self._missing(job):
            outcome = Outcome('not run', missing)
        else:
            if self.train:
                self._take_pace(name, job, device)
            with contextlib.suppress(UserError):  # told by what runs it
                made_of = self.record(name, job)
                why = self.stale(name, job, before, made_of) if before else []
            if made_of and before.get('state') == 'done':
                if not why:
                    return Outcome(**{key: before[key] for key in Outcome.__dataclass_fields__ if key in before})
                if self.train or not job.trains:
                    self.say(f'{name}: STALE: {"; ".join(why)}; it runs again')
            if job.trains and not self.train:
                return Outcome('not run', f'no weights of {name} that are up to date, and nothing is to be trained')
            outcome = self._execute(name, job, device, changed='record' in before and bool(why))
            if before.get('state') == 'stopped' and not why:
                outcome.seconds += before['seconds']  # it went on from where it was
        content = asdict(outcome)
        if made_of:
            outcome.key, outcome.stale = made_of['key'], why
            outcome.made = self._made(name, job) if outcome.state == 'done' else {}
            history = [*before.get('history', []), {'time': time.strftime('%Y-%m-%d %H:%M:%S'), 'why': why}]
            content = {**asdict(outcome), 'record': made_of, 'history': history}
        if not before or (made_of and outcome.state != 'not run'):  # what was done is known when its data come back
            checkpoint.write_record(self.folder / 'jobs' / f'{name}.json', content)
        if outcome.state != 'done':
            self.say(f'{name}: {outcome.state} ({outcome.reason})')
        return outcome

    def _missing(self, job: Job) -> str:
        """Why a job cannot run: the root causes of what it needs, each once."""
        ended = {name: self.outcomes[name] for name in job.needs if self.outcomes[name].state != 'done'}
        causes = (out.reason if out.state == 'not run' else f'{name} is {out.state}' for name, out in ended.items())
        return '; '.join(dict.fromkeys(causes))

    def read(self, name: str) -> dict[str, Any]:
        """What is remembered of a job, or of 'pace/JOB'; nothing where that is gone or damaged."""
        try:
            return checkpoint.read_record(self.folder / 'jobs' / f'{name}.json', unsigned=True)
        except ValueError:
            return {}

    def record(self, name: str, job: Job) -> Record:
        """What a job is made from now.

        Raises:
            UserError: what it needs is not there.
        """
        made_from = {need: self.outcomes[need].key for need in job.needs if need in self.outcomes}
        if job.verb is not None:
            words = list(map(str, job.verb))
            inputs = {str(i): self._placed(w) for i, w in enumerate(words) if '{' not in w and w != job.makes}
            return record({'verb': shlex.join(words), 'inputs': inputs}, made_from, code_version())
        kind, path, overrides = self._options(name, job)
        opt = load_options(path, 'train' if kind == 'train' else 'test', overrides)
        return record({'program': kind, **opt.resolved()}, made_from, code_version(), str(self.folder))

    def stale(self, name: str, job: Job, before: dict[str, Any], made_of: Record) -> list[str]:
        """Why what a job has made does not count any more."""
        if 'record' not in before:
            return ['what it was made from is not recorded']
        why = changes(before['record'], made_of)
        if before['state'] == 'done':
            now = self._made(name, job)
            why += [f'{path} is gone' for path in before['made'] if path not in now]
            why += [f'{path} was changed' for path, known in before['made'].items() if now.get(path, known) != known]
            if not before['made'] and not self.product(name, job).exists():
                why.append(f'{self.product(name, job)} is gone')
        return why

    def product(self, name: str, job: Job) -> Path:
        """What a job makes."""
        if job.verb is not None:
            return Path(self._fill(job.makes or '.'))
        file = 'results.json' if job.test else f'{job.program}.json'
        return self.weights_of(name) if job.train else self.folder / 'results' / name / file

    def _made(self, name: str, job: Job) -> dict[str, str]:
        path = self.product(name, job)
        return {str(path.relative_to(self.folder)): checkpoint.sha256(path)} if path.is_file() else {}

    def weights_of(self, name: str, best: bool = False) -> Path:
        file = f'net_g_{"best" if best else "latest"}.pth'
        return self.own.get(name) or self.folder / 'experiments' / name / 'models' / file

    def _fill(self, text: str) -> str:
        return text.replace('{out}', str(self.folder)).replace('{here}', str(self.study.folder))

    def _placed(self, value: Any) -> Any:
        """A value of `set`, however nested: a path below ./datasets is looked for where the data are."""

        def placed(text: str) -> str:
            below = self.data is not None and '/' in text and Path(text).parts[:1] == ('datasets',)
            return str(Path(self.data or '', *Path(text).parts[1:])) if below else self._fill(text)

        return each_text(value, placed)

    def _word(self, job: Job, word: str) -> str:
        """An argument of a verb; paths are absolute where it runs in another folder."""
        weights = self.weights_of(job.weights, job.best) if job.weights else ''
        placed = str(self._placed(word)).replace('{weights}', str(weights))
        return os.path.abspath(placed) if job.inside and word.startswith(('./', '{')) else placed

    def led_to(self, name: str) -> set[str]:
        """The training jobs that a job's weights come from, and itself where it is one."""
        job = self.study.jobs[name]
        return {name} & {n for n, j in self.study.jobs.items() if j.trains} | {
            found for needed in job.needs for found in self.led_to(needed)
        }

    def command(self, name: str, job: Job, changed: bool = False) -> list[str]:
        """The arguments of `python -m`.

        Raises:
            UserError: data or weights that the job needs are not there, or its option file is wrong.
        """
        if job.verb is not None:
            words = [self._word(job, str(word)) for word in job.verb]
            return ['votes.cli', *words, *(['--restart'] if changed and job.trains else [])]
        kind, path, overrides = self._options(name, job)
        load_options(path, 'train' if kind == 'train' else 'test', overrides)
        apart = kind in ('dfm_error', 'video_costs')
        command = [f'votes.studies.{kind}', '-o', str(self.product(name, job))] if apart else ['votes.cli', kind]
        command += ['-opt', str(path), '--set', *overrides]
        return command + {'train': ['--restart'] if changed else [], 'test': ['--overwrite']}.get(kind, [])

    def _options(self, name: str, job: Job) -> tuple[str, Path, list[str]]:
        """The program of a job, its option file, and what the study changes of it."""
        kind = job.program
        path = option_file(getattr(job, kind))
        values: dict[str, Any] = {
            'name': name,
            'path.experiments_root': str(self.folder / 'experiments'),
            'path.results_root': str(self.folder / 'results'),
            **self._data_roots(path),
            **{key: self._placed(value) for key, value in job.set.items()},
        }
        if job.minutes and (steps := self._pace(name).get('steps')):
            values |= {'train.total_iter': steps, 'train.scheduler.periods': [steps]}
        for key, source in (('path.pretrain_network_g', job.weights), ('network_g.bin_model', job.dsm)):
            if source:
                values[key] = str(self.weights_of(source, job.best and source == job.weights))
        return kind, path, [as_override(key, value) for key, value in values.items()]

    def _data_roots(self, path: Path) -> dict[str, str]:
        """Overrides that look for ./datasets/... below `data`."""
        sections = (read_option_file(path).data.get('datasets') or {}).items()
        written = {f'datasets.{name}.{key}': text for name, data in sections for key, text in (data or {}).items()}
        return {key: placed for key, text in written.items() if (placed := self._placed(text)) != text}

    def _pace(self, name: str) -> dict[str, Any]:
        """How fast a training is here: 'minutes' that it may take, 'seconds' of a step, 'steps'; nothing before that
        was measured. It is kept: a study that goes on trains for as many steps, and so do other seeds of the job.
        """
        found = self.read(f'pace/{self.seedless(name)}')
        return found if found.get('minutes') == self.study.jobs[name].minutes else {}

    def seedless(self, name: str) -> str:
        """What the seeds NAME_0, NAME_1 ... of a job have in common: NAME; of other jobs their name."""
        base, _, seed = name.rpartition('_')
        return base if seed in map(str, self.study.seeds) and base else name

    def _take_pace(self, name: str, job: Job, device: str) -> None:
        """Times a few steps of a training whose length is given in minutes: on a GPU by the clock, else by what the
        processor spent on a thread of this training, so that what else runs does not make it shorter.
        """
        if self._pace(name) or not job.minutes:
            return
        trial = f'{name}_pace'
        try:
            kind, path, overrides = self._options(name, job)
            overrides += [f'name={trial}', f'train.total_iter={2 * TIMED}', f'train.scheduler.periods=[{2 * TIMED}]']
            overrides += [f'logger.print_freq={TIMED}', 'datasets.val=~', 'train.warmup_iter=-1']
            load_options(path, 'train', overrides)
        except UserError:  # told by what runs the job
            return
        command = ['votes.cli', kind, '-opt', str(path), '--set', *overrides]
        if self._run(trial, [*command, '--restart'], device).state == 'done':
            rows = [row for row in read_rows(self.folder / 'experiments' / trial) if 'seconds' in row]
            first, last = (row['seconds' if device else 'cpu_seconds'] for row in rows[-2:])  # means since the start
            seconds = 2 * last - first  # of a step, without the first ones
            steps = max(1, int(60 * job.minutes / seconds))
            content = {'minutes': job.minutes, 'seconds': seconds, 'steps': steps}
            checkpoint.write_record(self.folder / 'jobs' / 'pace' / f'{self.seedless(name)}.json', content)
            self.say(f'{name}: {seconds:.3f} s a step, {steps} steps in {job.minutes:g} minutes')

    def _execute(self, name: str, job: Job, device: str, changed: bool) -> Outcome:
        try:
            command = self.command(name, job, changed)
        except UserError as error:
            return Outcome('not run', cause(error))
        if changed and job.verb:  # the same command would go on with what it made of something else
            product = self.product(name, job)
            for place in (product if product.is_dir() else product.parent, *map(Path, map(self._fill, job.beside))):
                if (self.folder / 'data') in place.parents:
                    shutil.rmtree(place, ignore_errors=True)
        return self._run(name, command, device)

    def _run(self, name: str, command: list[str], device: str) -> Outcome:
        """One command as a process of its own, its words in the log of `name`."""
        log = self.folder / 'logs' / f'{name}.log'
        job = self.study.jobs.get(name)  # none of a trial
        inside, codes = (self._fill(job.inside) if job.inside else None, job.codes) if job else (None, [])
        environment = os.environ | child_environment()  # a study that is killed takes its trainings with it
        environment['PYTHONPATH'] = os.pathsep.join([str(SOURCE), os.environ.get('PYTHONPATH', '')])
        environment |= {'CUDA_VISIBLE_DEVICES': device} if device else {}
        self.say(f'{name}: {" ".join(command[1:4])} ... (log: {log})')
        started = time.monotonic()
        with open(log, 'ab') as output:
            process = subprocess.Popen(
                [sys.executable, '-m', *command], stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=inside
            )
            self.running[name] = process
            code = process.wait()
            del self.running[name]
        seconds = round(time.monotonic() - started, 1)
        if code in (0, *codes):
            self.say(f'{name}: done in {seconds:.0f} s')
            return Outcome('done', '', seconds)
        if code in (PREEMPTED, -15, -2):
            return Outcome('stopped', 'on request; the same command goes on', seconds)
        return Outcome('failed', f'exit code {code}: {last_words(log)}; log: {log}', seconds)


def _own(study: Study, name: str, path: Path) -> tuple[str, Path]:
    """The training job whose place a file of weights takes, and the file; see `Runner`."""
    trained = [job for job, content in study.jobs.items() if content.trains]
    named = next((job for job in (name, *(f'{name}_{seed}' for seed in study.seeds)) if job in trained), None)
    if named is None:
        raise UserError(f'no training job {name!r}', where='--weights', fix=f'one of {", ".join(trained)}')
    if not path.is_file():
        raise UserError('weights not found', where=path, value=f'--weights {name}={path}')
    return named, path


@cache
def code_version() -> str:
    """The version, and the commit of the source where it is known."""
    return f'{votes.__version__} {environment().get("commit") or ""}'.strip()
