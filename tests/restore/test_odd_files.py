"""Real files that made video tools stumble: `VOTES_ODD_CLIPS` names a folder of them; without it these tests skip.

Every file is restored, or refused with a reason. What the output has not of it was announced: the check at the end of
every restoration fails otherwise.
"""

import os
import re
from pathlib import Path

import av
import pytest
from restore.clips import Identity

from votes.errors import UserError
from votes.restore import Settings, restore_video
from votes.restore.inputs import open_input
from votes.restore.ledger import announce
from votes.restore.video import Restoration
from votes.video.read import Reading, TimedFrame

FOLDER = os.environ.get('VOTES_ODD_CLIPS', '')
FILES = sorted(p.name for p in Path(FOLDER).iterdir() if p.is_file()) if FOLDER and Path(FOLDER).is_dir() else []
SMALL = 12e6  # pixels of all frames together
REFUSALS = r'no video in this file|HDR video|changes its size|not a readable video|no frame can be decoded'

pytestmark = pytest.mark.skipif(not FILES, reason='VOTES_ODD_CLIPS names no folder of files')


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv', '.mov', '.webm', '.avi'])
@pytest.mark.parametrize('name', FILES)
def test_every_container_takes_it_or_says_why(tmp_path, name, suffix):
    source = Path(FOLDER) / name
    settings = Settings(preset=None if suffix == '.webm' else 'ultrafast', tile=0)
    try:
        work = Restoration(Identity(), source, settings, 'cpu')
    except UserError as error:
        if not re.search(REFUSALS, error.what):
            raise
        return
    with work.open() as reader:
        encoding = settings.encoding(tmp_path / f'out{suffix}', reader.bits, reader.chroma)
        said = announce(tmp_path / f'out{suffix}', work.new_size, reader, encoding, work.beside(reader))
        others = [s for s in reader.container.streams if s.index != reader.index]
        titles = any(s.metadata.get('handler_name') == 'SubtitleHandler' and s.type == 'data' for s in others)
        assert len(said.plan.tracks) == len(others) - titles
        times = reader.survey.times
        seconds = float((times[-1] - times[0]) * reader.time_base) or 1
        assert said.shape.rate < 1.1 * len(times) / seconds, 'no container claims its ticks as frames'


@pytest.fixture
def every_eighth_pixel(monkeypatch):
    """Large pictures are decoded as they are, and restored from every eighth row and column: all else is real."""
    whole = TimedFrame.rgb.fget
    monkeypatch.setattr(TimedFrame, 'rgb', property(lambda self: whole(self)[::8, ::8]))
    original = Restoration.__init__

    def smaller(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.size = self.new_size = tuple(-(-n // 8) for n in self.size)

    monkeypatch.setattr(Restoration, '__init__', smaller)


@pytest.mark.parametrize('name', FILES)
def test_it_is_restored_and_compared_with_its_source(tmp_path, name, request):
    source = Path(FOLDER) / name
    try:
        with open_input(source, Reading()) as reader:
            count, (height, width) = reader.frames_hint, reader.size
    except UserError as error:
        pytest.skip(error.what)
    if count * height * width > SMALL:
        request.getfixturevalue('every_eighth_pixel')
    settings = Settings(preset='ultrafast', tile=0, segment=64 if count > 100 else 16)
    try:
        summary = restore_video(Identity(), source, tmp_path / 'out.mp4', progress='none', settings=settings)
    except UserError as error:
        if 'changes its size' not in error.what:
            raise
        return
    with av.open(str(tmp_path / 'out.mp4')) as container:
        assert sum(1 for _ in container.decode(video=0)) == summary.frames
    told = ' '.join(summary.notes)
    assert summary.frames == count or 'damaged' in told or 'breaks off' in told or 'no frame of their own' in told
