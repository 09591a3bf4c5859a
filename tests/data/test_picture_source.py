import cv2
import numpy as np
import pytest

from votes.data.sources import open_source
from votes.data.uvssm_dataset import UVSSMDataset
from votes.errors import UserError


def write(folder, sizes):
    folder.mkdir()
    for name, size in sizes.items():
        picture = np.random.default_rng(len(name)).integers(0, 256, (*size, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), picture)


def test_each_picture_is_a_clip_of_one_frame(tmp_path):
    write(tmp_path / 'lr', {'a.png': (20, 24), 'b.png': (16, 30)})
    write(tmp_path / 'hr', {'a.png': (40, 48), 'b.png': (32, 60)})
    source = open_source(tmp_path / 'lr', {'type': 'pictures'})
    assert source.clips() == ['a', 'b']
    assert (source.length('a'), source.size('b'), source.read('b', 0, (2, 3, 5, 6)).shape) == (1, (16, 30), (5, 6, 3))
    roots = {'dataroot_lq': str(tmp_path / 'lr'), 'dataroot_gt': str(tmp_path / 'hr')}
    data = UVSSMDataset(**roots, io_backend={'type': 'pictures'}, num_frame=1, gt_size=16, scale=2)
    sample = data[0, 1]
    assert (sample['lq'].shape, sample['gt'].shape, sample['key']) == ((1, 3, 8, 8), (3, 16, 16), 'b/00000000')
    with pytest.raises(UserError, match='no clips'):
        open_source(tmp_path / 'lr')  # never told from what lies there


def test_what_cannot_be_read(tmp_path):
    write(tmp_path / 'two', {'a.png': (8, 8), 'a.jpg': (8, 8)})
    with pytest.raises(UserError, match='two pictures of one name'):
        open_source(tmp_path / 'two', {'type': 'pictures'})
    (tmp_path / 'none').mkdir()
    with pytest.raises(UserError, match='no pictures'):
        open_source(tmp_path / 'none', {'type': 'pictures'})
