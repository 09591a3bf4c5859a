"""A training worker holds the frames of its sample and no more, however large the data set is."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from votes.data.tools.pack import pack
from votes.video.degrade import encode_h264

READ = """
import sys
from pathlib import Path
from votes.data.uvssm_dataset import UVSSMDataset

def anonymous():  # memory of its own, in MiB: pages of a mapped file are the system's to take back
    text = Path('/proc/self/status').read_text()
    return int(text.split('RssAnon:')[1].split()[0]) / 1024

dataset = UVSSMDataset(sys.argv[1], sys.argv[1], scale=1, gt_size=32)
for index in range(len(dataset)):
    dataset[0, index]
before = anonymous()
for epoch in range(1, 13):
    for index in range(len(dataset)):
        dataset[epoch, index]
print(anonymous() - before)
"""


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    """Six clips of 20 frames, 41 MiB when decoded: six times a sample's share of one clip."""
    root = tmp_path_factory.mktemp('many')
    rng = np.random.default_rng(0)
    for clip in range(6):
        (root / 'png' / f'{clip:03d}').mkdir(parents=True)
        frames = [cv2.resize(rng.integers(0, 256, (9, 16, 3), dtype=np.uint8), (448, 256)) for _ in range(20)]
        for i, frame in enumerate(frames):
            cv2.imwrite(str(root / 'png' / f'{clip:03d}' / f'{i:08d}.png'), frame[..., ::-1])
        (root / 'video').mkdir(exist_ok=True)
        encode_h264(frames, root / 'video' / f'{clip:03d}.mp4', 28)
    pack(root / 'png', root / 'packed', 'packed', say=str)
    pack(root / 'png', root / 'lmdb', 'lmdb', say=str)
    return root


@pytest.mark.skipif(not Path('/proc/self/status').is_file(), reason='memory is read from /proc')
@pytest.mark.parametrize(
    'kind', ['packed', *(pytest.param(kind, marks=pytest.mark.long) for kind in ('png', 'lmdb', 'video'))]
)
def test_memory_does_not_grow_with_what_was_read(clips, kind):
    run = subprocess.run([sys.executable, '-c', READ, str(clips / kind)], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 12, 'MiB more after every frame of 41 MiB was read several times'
