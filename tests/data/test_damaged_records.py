"""Small files beside frames: with any bit flipped, or cut anywhere, they say what they said or are refused."""

import pytest
import torch
from conftest import write_clip
from faults import damages

from votes.checkpoint import digest, write_record
from votes.data.grid import stored_grid
from votes.data.packed_source import PackedSource
from votes.data.sensed import check_dsm
from votes.data.tools.pack import pack
from votes.errors import UserError

DSM = torch.nn.Conv2d(1, 1, 1)


def of_store(root):
    source = PackedSource(root)
    return [(clip, source.length(clip), source.size(clip), source.frames(clip)[0, 0, 0, 0]) for clip in source.clips()]


def of_maps(root):
    check_dsm(root, DSM)
    return True


@pytest.fixture
def places(tmp_path):
    """File name -> what reads the folder that it lies in."""
    for number in (3, 4):
        write_clip(tmp_path / 'png' / f'00{number}', number, (6, 8), seed=number)
    pack(tmp_path / 'png', tmp_path / 'packed.json', 'packed', say=str)
    for name, content in (
        ('manifest.json', {'grid': 'origin'}),
        ('sensed.json', {'dsm': digest(DSM), 'weights': 'dsm.pth'}),
    ):
        (tmp_path / name).mkdir()
        write_record(tmp_path / name / name, content)
    return {'packed.json': of_store, 'manifest.json': stored_grid, 'sensed.json': of_maps}


@pytest.mark.parametrize('name', ['packed.json', 'manifest.json', 'sensed.json'])
def test_no_damage_is_believed(places, tmp_path, name):
    folder, read = tmp_path / name, places[name]
    said = read(folder)
    refused = 0
    for data in damages(folder / name):
        try:
            assert read(folder) == said, data
        except UserError as error:
            refused += str(folder) in str(error)
    assert refused > 8 * len((folder / name).read_bytes()), 'nearly all of them'
    assert read(folder) == said
