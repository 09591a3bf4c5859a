"""Manifests are of contents: copies are the same, other pictures under the same names are not."""

import json
import os
import shutil

import cv2
import numpy as np
import pytest
from conftest import write_clip

from votes.data.manifest import differences, manifest
from votes.data.sources import open_source
from votes.data.tools.pack import pack


@pytest.fixture
def frames(tmp_path):
    for i in range(3):
        write_clip(tmp_path / 'frames' / f'{i:03d}', 5, (16, 20), seed=i)
    return tmp_path / 'frames'


def test_copies_are_the_same_whatever_their_dates(frames, tmp_path):
    one = manifest(frames)
    shutil.copytree(frames, tmp_path / 'copy')
    for path in (tmp_path / 'copy').glob('*/*.png'):
        os.utime(path, (1, 1))
    two = manifest(tmp_path / 'copy')
    assert one == two
    assert one['digest'] == two['digest']
    assert list(one['clips']) == ['000', '001', '002']
    assert one['clips']['001'][:3] == [5, 16, 20]
    assert differences(one, json.loads(json.dumps(two))) == []


def test_other_pictures_under_the_same_names(frames):
    before = manifest(frames)
    cv2.imwrite(str(frames / '001' / '00000002.png'), np.full((16, 20, 3), 7, np.uint8))
    assert differences(before, manifest(frames)) == ['clips hold other frames: 001']


def test_what_changed_is_named(frames):
    before = manifest(frames)
    (frames / '002' / '00000004.png').unlink()
    shutil.rmtree(frames / '000')
    write_clip(frames / '007', 5, (16, 20))
    assert differences(before, manifest(frames)) == [
        'clips are gone: 000',
        'clips are new: 007',
        'clips have another length or size: 002',
    ]


@pytest.mark.parametrize('kind', ['packed', 'lmdb'])
def test_a_folder_that_was_packed_holds_the_same(frames, tmp_path, kind):
    before = manifest(frames)
    pack(frames, tmp_path / 'store', kind, say=str)
    after = manifest(open_source(tmp_path / 'store'))
    assert before['digest'] != after['digest']
    assert differences(before, after) == []
    for i in range(3):
        shutil.rmtree(frames / f'{i:03d}')
        write_clip(frames / f'{i:03d}', 5, (16, 20), seed=10 + i)
    pack(frames, tmp_path / 'other', kind, say=str)
    assert differences(before, manifest(tmp_path / 'other')) == ['clips hold other frames: 000, 001, 002']
    assert differences(after, manifest(tmp_path / 'other')) == ['clips hold other frames: 000, 001, 002']
