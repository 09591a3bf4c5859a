"""Every registered network keeps what it promises, because it is registered; and what breaks a promise is named."""

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from torch import nn

from votes.archs.contract import Causal, Clip, Frame, Window, run_causal
from votes.cli import main
from votes.commands.check_network import Checks, run_check
from votes.commands.trial_run import Trial
from votes.registry import NETWORKS

WHOLE = [name for name in NETWORKS.names() if getattr(NETWORKS.get(name), 'sees', True) is not None]


# a network of each kind, one with side information, one of several: the program that trains is the same for all
TRIED = ('ARCNN', 'VOTES', 'CAVSR', 'RSDN', 'MFQE', 'Pipeline')


def broken(checks):
    findings = [run_check(text, check) for text, check in checks]
    return [str(finding) for finding in findings if finding.problem]


@pytest.mark.parametrize('name', NETWORKS.names())
def test_keeps_its_promises(name):
    assert not broken(Checks(name).all())


@pytest.mark.parametrize('name', [pytest.param(n, marks=() if n in TRIED else pytest.mark.long) for n in WHOLE])
def test_trains_resumes_and_restores(name, tmp_path):
    """By the commands; tests/test_option_files_run.py trains every network as well."""
    checks = Checks(name)
    assert not broken(Trial(tmp_path, checks.options, checks.said).checks(ranks=1))


def free_ports(count):
    """The first of so many ports, below those that the system gives to whoever asks for any."""
    for first in range(20000, 32000 - count, count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(('127.0.0.1', port))
            except OSError:
                continue
        return first
    raise OSError('no ports are free')


@pytest.fixture(scope='module')
def together(tmp_path_factory):
    """Network -> exit code of two steps on two processes, which are started once for all of them."""
    root = tmp_path_factory.mktemp('together')
    files = []
    for name in WHOLE:
        (root / name).mkdir()
        checks = Checks(name)
        files.append(root / name / Trial(root / name, checks.options, checks.said).option_file('both'))
    with contextlib.ExitStack() as turn:  # the ports of two such pairs would meet
        fcntl.flock(turn.enter_context(open(Path(tempfile.gettempdir(), 'votes_two_ranks.lock'), 'w')), fcntl.LOCK_EX)
        return trained_together(files)


def trained_together(files):
    codes: dict[str, object] = {}
    left = list(files)
    while left:
        port = free_ports(len(left))
        command = [sys.executable, str(Path(__file__).with_name('two_ranks.py'))]
        environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(p or os.getcwd() for p in sys.path)}
        processes = [
            subprocess.Popen(
                [*command, str(rank), str(port), *map(str, left)], env=environment, stdout=subprocess.PIPE, text=True
            )
            for rank in range(2)
        ]
        told = [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]
        found = {name: code for part in told for name, code in part.items() if code or name not in codes}
        codes |= found
        left = [file for file in left if file.parent.name not in codes]
        if not found:
            break
    return codes


@pytest.mark.long
@pytest.mark.timeout(1200)  # the first of them trains all networks, once
@pytest.mark.xdist_group('two processes')
@pytest.mark.parametrize('name', WHOLE)
def test_trains_on_two_processes(together, name):
    assert together[name] == 0


class Net(nn.Module):
    """The base of networks that break one promise each."""

    sees, scale = Window(3), 1

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(x[:, 1])


class Unused(Net):
    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(2, 2)


class WrongSize(Net):
    scale = 2


class LooksAhead(Net):
    """Its clip is not what its steps give."""

    sees = Causal()

    def step(self, frames, state):
        return self.conv(frames[:, 0]), None

    def forward(self, x):
        return run_causal(self, x) + x.mean(1, keepdim=True)


class Overflows(Net):
    sees = Frame()

    def forward(self, x):
        return self.conv(x) * (float('nan') if torch.is_autocast_enabled('cpu') else 1)


class NeedsMore(Net):
    """Says nothing of the three frames that it needs."""

    sees = Clip()

    def forward(self, x):
        return torch.stack([self.conv(x[:, i]) for i in range(x.shape[1])], 1) + 0 * x[:, 2:3]


@pytest.mark.parametrize(
    ('cls', 'wrong'),
    [
        (Unused, 'every trained parameter gets a gradient: none for spare.weight'),
        (WrongSize, 'scale, or what `sees` says'),
        (LooksAhead, 'a whole clip is what its frames give one after the other: they differ'),
        (Overflows, 'NaN or Inf in bf16'),
        (NeedsMore, 'clips as short as promised: NeedsMore: the output is not'),
    ],
)
def test_a_broken_promise_is_found(cls, wrong, monkeypatch):
    monkeypatch.setitem(NETWORKS.table, 'Net', f'{__name__}:{cls.__name__}')
    monkeypatch.setitem(sys.modules, __name__, sys.modules[cls.__module__])
    checks = Checks('Net')
    found = '\n'.join(str(run_check(text, check)) for text, check in checks.all())
    assert wrong in found
    assert 'FAIL' in found


def test_a_network_of_a_users_own(tmp_path, monkeypatch, capsys):
    """From a module on the path, on two processes, to a video that its checkpoint restores."""
    (tmp_path / 'mine.py').write_text(
        'from torch import nn\n'
        'from votes.archs.contract import Frame\n\n\n'
        'class Mine(nn.Module):\n'
        '    sees = Frame()\n\n'
        '    def __init__(self, width: int = 4):\n'
        '        super().__init__()\n'
        '        self.body = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1))\n\n'
        '    def forward(self, x):\n'
        '        return x + self.body(x)\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(['check-network', 'mine:Mine', '--set', 'width=5']) == 0
    said = capsys.readouterr().out
    assert 'ok   it trains two steps on 2 processes' in said
    assert 'ok   its checkpoint comes back' in said
    assert main(['check-network', 'mine:Yours']) == 1
    assert 'cannot be imported' in capsys.readouterr().out
