"""`votes app` as a process that ends while it restores, and starts again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from app.test_app import ROOT, Page, place  # noqa: F401
from restore.clips import frames_of, lossless, moving

from votes.cli import main


class Started:
    """`votes app` as a process."""

    def __init__(self, *arguments):
        command = [sys.executable, '-m', 'votes.cli', 'app', '--weights', 'weights', '--device', 'cpu', *arguments]
        environment = dict(os.environ, PYTHONPATH=str(ROOT))
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        self.page = Page(self.process.stdout.readline().strip())

    def end(self, number):
        self.process.send_signal(number)
        self.process.communicate(timeout=100)


@pytest.mark.parametrize('number', [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL])
def test_a_restart_while_a_job_runs(place, number):  # noqa: F811
    lossless(place / 'long.mp4', moving(60, (96, 128)) * 4, codec='libx264', chroma='420')
    first = Started('--segment', '8')
    try:
        key = first.page.upload('long.mp4')
        first.page.start(key)
        deadline = time.monotonic() + 100
        while len(first.page.video(key)['parts']) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        first.end(number)
    made = {p.name: p.stat().st_mtime_ns for p in Path('votes_app', key, 'result.mp4.votes-job').glob('*.nut')}
    assert len(made) >= 2
    assert not Path('votes_app', key, 'result.mp4').exists()
    second = Started('--segment', '8')
    try:
        assert first.page.base != second.page.base, 'another key'
        second.page.wait(key)
        content = second.page.ask('GET', f'api/videos/{key}/result')[2]
    finally:
        second.end(signal.SIGTERM)
    assert second.process.returncode == 0
    Path('page.mp4').write_bytes(content)
    assert (
        main(['restore', 'long.mp4', 'out.mp4', '--weights', 'weights/w.pth', '--device', 'cpu', '--segment', '8']) == 0
    )
    assert frames_of('page.mp4') == frames_of('out.mp4')
