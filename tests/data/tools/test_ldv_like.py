"""Stand-ins for LDV of one's own videos."""

import json

import numpy as np
import pytest
from test_metadata import pan, write

from votes.cli import main
from votes.data.codec_metadata import CodecMetadata
from votes.data.pairs import ClipPairs
from votes.data.tools.ldv_like import prepare_ldv_like
from votes.errors import UserError


def test_videos_become_tracks(tmp_path, capsys):
    (tmp_path / 'in').mkdir()
    for i in range(5):
        write(tmp_path / 'in' / f'clip {i}.mp4', pan(10, step=i, size=(66, 64)), qp='12')
    command = ['prepare', 'ldv-like', str(tmp_path / 'in'), str(tmp_path / 'LDV'), '--frames', '9', '--test', '2']
    assert main(command) == 0
    root = tmp_path / 'LDV'
    names = json.loads((root / 'names.json').read_text())
    assert {part: len(clips) for part, clips in names.items()} == {'train': 2, 'val': 1, 'test': 1, 'test_track3': 1}
    assert len({name for clips in names.values() for name in clips.values()}) == 5
    assert not (root / 'test' / 'LQ_track3').exists()
    pairs = ClipPairs(str(root / 'train' / 'GT'), str(root / 'train' / 'LQ_track1'), 1)
    assert pairs.lengths == {'001': 9, '002': 9}
    assert pairs.lq.size('001') == (66, 64)
    metadata = CodecMetadata(root / 'train' / 'metadata_track1')
    ripple = [round(float(np.mean(metadata.field('001', 'qp')[i]))) for i in range(9)]
    assert ripple == [38, 42, 41, 42, 38, 42, 41, 42, 38]
    assert [i for i, peak in enumerate(metadata.marks('001')) if peak] == [0, 2, 4, 6, 8], 'and the last one'
    assert CodecMetadata(root / 'train' / 'metadata_track3').about('001')['types'][0] == 'I'
    capsys.readouterr()
    assert main(command) == 0
    assert 'GT' not in capsys.readouterr().out, 'what is there is not made again'
    with pytest.raises(UserError, match='too few videos'):
        prepare_ldv_like(tmp_path / 'in', tmp_path / 'other', test=4, val=1)
