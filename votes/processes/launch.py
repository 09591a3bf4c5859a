"""`votes launch`: a training on several processes and machines, through torchrun, whose end can be trusted.

torchrun alone does not recover a killed gloo or nccl rank (restarted processes dial the dead rank's store), dies of
SIGUSR1 without telling anybody, ends with 1 however well its processes have ended, and keeps the other machines waiting
for five minutes when it was stopped on one. So it hears of no signal here: the launcher passes each on to the processes
themselves, which stop together, after which torchrun ends as if they had been done.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from votes.errors import UserError
from votes.processes.parent import child_environment
from votes.processes.signals import PREEMPTED, REPORT_VARIABLE, StopRequests, registered, told

PROGRAMS = ('test', 'train')
GRACE = 600  # seconds that processes have for their last step and a checkpoint before they are killed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--nproc', default='auto', metavar='N', help='processes on this machine; auto: one a GPU')
    parser.add_argument('--port', type=int, default=0, help='of the rendezvous on this machine (default: a free one)')
    parser.add_argument('--nnodes', default='1', help='machines, as MIN:MAX where they may come and go')
    parser.add_argument('--rdzv', metavar='HOST:PORT', help='rendezvous of several machines: the first one')
    parser.add_argument('--rdzv-id', default='votes', help='name of the job at the rendezvous')
    parser.add_argument('--max-restarts', type=int, default=0, help='how often to start again after a process died')
    parser.add_argument('program', choices=PROGRAMS, help='what each process runs')
    parser.add_argument('arguments', nargs=argparse.REMAINDER, help='its arguments, such as -opt FILE.yml')


def command(args: argparse.Namespace) -> list[str]:
    """torchrun's command line."""
    if args.nproc != 'auto' and not (args.nproc.isdigit() and int(args.nproc) > 0):
        raise UserError('not a number of processes', value=args.nproc, fix='1 or more, or auto')
    if args.nnodes != '1' and not args.rdzv:
        raise UserError('several machines need a rendezvous', fix='--rdzv HOST:PORT, the same on all of them')
    if args.port and not args.rdzv:
        _check_free(args.port)
    place = ['--standalone']
    if args.rdzv or args.port:
        endpoint = args.rdzv or f'localhost:{args.port}'
        place = ['--rdzv-backend=c10d', f'--rdzv-id={args.rdzv_id}', f'--rdzv-endpoint={endpoint}']
    return [
        *(sys.executable, '-m', 'votes.processes.agent', *place),
        f'--nnodes={args.nnodes}',
        f'--nproc-per-node={"gpu" if args.nproc == "auto" else args.nproc}',
        f'--max-restarts={args.max_restarts}',
        '--signals-to-handle=SIGTERM',
        f'--shutdown-timeout={GRACE}',
        *('-m', 'votes.cli', args.program, *args.arguments, '--launcher', 'pytorch'),
    ]


def run(args: argparse.Namespace) -> int:
    """Starts the processes and waits for them. Any of the signals stops training after a checkpoint.

    Returns:
        0 done, 75 stopped on request after saving, else what torchrun ended with (1 after a crash, 2 for bad input).
    """
    arguments, threads = command(args), 1
    if args.nproc != 'auto':
        threads = max(1, (os.cpu_count() or 1) // int(args.nproc))
    else:
        import torch

        if not torch.cuda.is_available():
            arguments = [a.replace('--nproc-per-node=gpu', '--nproc-per-node=1') for a in arguments]
    with tempfile.TemporaryDirectory(prefix='votes_launch_') as name, _PassingOn(Path(name)) as stop:
        report = Path(name) / 'report'
        environment = {
            **os.environ,
            **child_environment(),
            REPORT_VARIABLE: str(report),
            'TORCH_DISABLE_SHARE_RDZV_TCP_STORE': '1',
            'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', str(threads)),
        }
        # its own session: Ctrl-C reaches the processes once, through this one
        agent = subprocess.Popen(arguments, env=environment, start_new_session=True)
        code = stop.wait(agent)
        ended = told(report)
        if ended and ended['end'] == 'stopped':
            print(f'stopped on request ({ended["text"]}); the same command goes on', flush=True)
            return PREEMPTED
        if stop.asked() and not registered(Path(name)):
            print('stopped on request before a step was done', flush=True)
            return PREEMPTED
        return 2 if ended and code else code if code >= 0 else 128 - code


class _PassingOn(StopRequests):
    """Passes signals on to the processes that have registered in `folder`; later ones find the note `stop` there."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.since: float | None = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = signal.Signals(number).name
        self._pass_on()

    def _pass_on(self) -> None:
        assert self.requested is not None
        self.since = self.since or time.monotonic()
        (self.folder / 'stop').write_text(self.requested)
        for pid in registered(self.folder):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.Signals[self.requested])

    def wait(self, agent: subprocess.Popen[bytes]) -> int:
        """Until torchrun has ended; returns its exit code."""
        if self.requested:  # while this program was starting
            self._pass_on()
        ending = False
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return agent.wait(0.2)
            late = self.since is not None and time.monotonic() - self.since > GRACE
            if self.since is not None and not ending and (late or not registered(self.folder)):
                agent.terminate()  # it waits for other machines, or its processes do not listen
                ending = True


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('localhost', port))
        except OSError as error:
            raise UserError('this port is in use: by another training?', value=port, fix='another port') from error
