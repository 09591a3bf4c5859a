"""Runs the jobs of a study: what is missing, several at a time where devices allow, and none twice."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from votes import checkpoint
from votes.errors import UserError
from votes.options import load_options
from votes.options.yaml_file import read_option_file
from votes.processes.parent import child_environment
from votes.processes.signals import PREEMPTED, StopRequests
from votes.studies.study import PROGRAMS, SOURCE, Job, Study, as_override

Say = Callable[[str], None]


@dataclass
class Outcome:
    """How a job ended: 'done', 'failed', 'not run' or 'stopped', why, and in how many seconds."""

    state: str
    reason: str = ''
    seconds: float = 0
    definition: str = ''


class Runner:
    """The jobs of a study in a folder of its own: experiments/, results/, data/, logs/ and jobs/.

    Args:
        data: folder that stands for ./datasets in the option files.
        devices: GPUs, a job on each at a time; none for the CPU.
    """

    def __init__(self, study: Study, folder: Path, data: Path | None, devices: list[str], say: Say = print):
        self.study, self.folder, self.data, self.devices, self.say = study, folder, data, devices, say
        for name in ('logs', 'jobs'):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.outcomes: dict[str, Outcome] = {}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def run(self) -> dict[str, Outcome]:
        """Runs what is not done yet. A job that fails is reported, and does not stop others than those it feeds."""
        waiting = dict(self.study.jobs)
        free = list(self.devices) or ['']
        futures: dict[Future[Outcome], tuple[str, str]] = {}
        with ThreadPoolExecutor(len(free)) as pool, StopRequests() as stop:
            while waiting or futures:
                for name in [n for n, job in waiting.items() if self._settled(job)]:
                    if not free or stop.asked():
                        break
                    job, device = waiting.pop(name), free.pop(0)
                    futures[pool.submit(self._finish, name, job, device)] = name, device
                if stop.asked():
                    for process in list(self.running.values()):
                        process.terminate()
                    waiting.clear()
                done, _ = wait(futures, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    name, device = futures.pop(future)
                    free.append(device)
                    self.outcomes[name] = future.result()
        for name in self.study.jobs:
            self.outcomes.setdefault(name, Outcome('stopped', 'the study was stopped before it'))
        return self.outcomes

    def _settled(self, job: Job) -> bool:
        return all(name in self.outcomes for name in job.needs)

    def _finish(self, name: str, job: Job, device: str) -> Outcome:
        """Runs one job, if it is to be run, and remembers how it ended."""
        definition = hashlib.sha256(job.model_dump_json().encode()).hexdigest()
        record = self.folder / 'jobs' / f'{name}.json'
        before = json.loads(record.read_text()) if record.is_file() else {}
        missing = [f'{n} is {self.outcomes[n].state}' for n in job.needs if self.outcomes[n].state != 'done']
        if missing:
            outcome = Outcome('not run', ', '.join(missing))
        elif before.get('state') == 'done' and before['definition'] == definition and self._there(name, job):
            return Outcome(**before)
        else:
            outcome = self._execute(name, job, device, changed=before.get('definition', definition) != definition)
        outcome.definition = definition
        checkpoint.write_json(record, asdict(outcome))
        if outcome.state != 'done':
            self.say(f'{name}: {outcome.state} ({outcome.reason})')
        return outcome

    def _there(self, name: str, job: Job) -> bool:
        """Whether what a job made is still there."""
        made = {
            'train': self.weights_of(name),
            'test': self.folder / 'results' / name / 'results.json',
            'dfm_error': self.folder / 'results' / name / 'dfm_error.json',
        }
        path = next((made[kind] for kind in PROGRAMS if getattr(job, kind)), Path(self._fill(job.makes or '.')))
        return path.exists()

    def weights_of(self, name: str) -> Path:
        return self.folder / 'experiments' / name / 'models' / 'net_g_latest.pth'

    def _fill(self, text: str) -> str:
        return text.replace('{out}', str(self.folder))

    def _placed(self, value: str) -> str:
        """A value of `set`: a path below ./datasets is looked for where the data are."""
        if self.data and value.startswith('./datasets/'):
            return str(Path(self.data, *Path(value).parts[1:]))
        return self._fill(value)

    def led_to(self, name: str) -> set[str]:
        """The training jobs that a job's weights come from, and itself where it is one."""
        job = self.study.jobs[name]
        return {name} & {n for n, j in self.study.jobs.items() if j.train} | {
            found for needed in job.needs for found in self.led_to(needed)
        }

    def command(self, name: str, job: Job, changed: bool = False) -> list[str]:
        """The arguments of `python -m`.

        Raises:
            UserError: data or weights that the job needs are not there, or its option file is wrong.
        """
        if job.verb is not None:
            return ['votes.cli', *(self._fill(str(word)) for word in job.verb)]
        kind = next(kind for kind in PROGRAMS if getattr(job, kind))
        path = self._option_file(getattr(job, kind))
        values: dict[str, Any] = {
            'name': name,
            'path.experiments_root': str(self.folder / 'experiments'),
            'path.results_root': str(self.folder / 'results'),
            **(self._data_roots(path) if self.data else {}),
            **{key: self._placed(value) if isinstance(value, str) else value for key, value in job.set.items()},
        }
        for key, source in (('path.pretrain_network_g', job.weights), ('network_g.bin_model', job.dsm)):
            if source:
                values[key] = str(self.weights_of(source))
        overrides = [as_override(key, value) for key, value in values.items()]
        load_options(path, 'train' if kind == 'train' else 'test', overrides)
        command = ['votes.studies.dfm_error'] if kind == 'dfm_error' else ['votes.cli', kind]
        if kind == 'dfm_error':
            command += ['-o', str(self.folder / 'results' / name / 'dfm_error.json')]
        command += ['-opt', str(path), '--set', *overrides]
        return command + {'train': ['--restart'] if changed else [], 'test': ['--overwrite']}.get(kind, [])

    def _option_file(self, name: str) -> Path:
        return Path(name) if Path(name).is_file() else SOURCE / name

    def _data_roots(self, path: Path) -> dict[str, str]:
        """Overrides that look for ./datasets/... below `data`."""
        found = {}
        for section, data in (read_option_file(path).data.get('datasets') or {}).items():
            for key, value in (data or {}).items():
                parts = Path(value).parts if isinstance(value, str) and '/' in value else ()
                if parts[:1] == ('datasets',):
                    found[f'datasets.{section}.{key}'] = str(Path(self.data or '', *parts[1:]))
        return found

    def _execute(self, name: str, job: Job, device: str, changed: bool) -> Outcome:
        try:
            command = self.command(name, job, changed)
        except UserError as error:
            text = str(error)
            kind = (
                'data missing' if 'folder' in text else 'weights missing' if 'no such file' in text else 'not possible'
            )
            return Outcome('not run', f'{kind}: {" ".join(text.split())[:300]}')
        log = self.folder / 'logs' / f'{name}.log'
        environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(SOURCE), os.environ.get('PYTHONPATH', '')])}
        environment |= child_environment()  # a study that is killed takes its trainings with it
        if device:
            environment['CUDA_VISIBLE_DEVICES'] = device
        self.say(f'{name}: {" ".join(command[1:4])} ... (log: {log})')
        started = time.monotonic()
        with open(log, 'ab') as output:
            process = subprocess.Popen(
                [sys.executable, '-m', *command], stdout=output, stderr=subprocess.STDOUT, env=environment
            )
            self.running[name] = process
            code = process.wait()
            del self.running[name]
        seconds = round(time.monotonic() - started, 1)
        if code == 0:
            self.say(f'{name}: done in {seconds:.0f} s')
            return Outcome('done', '', seconds)
        if code in (PREEMPTED, -15, -2):
            return Outcome('stopped', 'on request; the same command goes on', seconds)
        last = [line for line in log.read_text(errors='replace').splitlines() if line.strip()][-1:]
        return Outcome('failed', f'exit code {code}: {(last or ["no output"])[0].strip()[:300]}; log: {log}', seconds)
