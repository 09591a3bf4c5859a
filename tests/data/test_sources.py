"""Pictures as they come: damaged, deep, grey, numbered from anywhere."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from votes.commands.metrics import clips_at
from votes.data import sources
from votes.data.sources import FolderSource, picture_size, read_picture
from votes.errors import UserError
from votes.restore.inputs import open_input
from votes.video.read import Reading


@pytest.fixture
def path(tmp_path):
    cv2.imwrite(str(tmp_path / '0.png'), np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    return tmp_path / '0.png'


def test_damaged(path):
    whole = path.read_bytes()
    for damaged in (b'', b'not a picture', whole[: len(whole) // 2], whole[:-20]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r'damaged picture[\s\S]*0\.png'):
            read_picture(path)


def test_depths_and_channels(path):
    cv2.imwrite(str(path), np.array([[[0, 257, 65535]]], np.uint16))
    assert read_picture(path).tolist() == [[[255, 1, 0]]]
    cv2.imwrite(str(path), np.array([[7, 9]], np.uint8))
    assert read_picture(path).tolist() == [[[7] * 3, [9] * 3]]
    cv2.imwrite(str(path), np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(UserError, match='alpha'):
        read_picture(path)


def test_folders(tmp_path, path):
    clip = tmp_path / 'root' / '001'
    clip.mkdir(parents=True)
    source = FolderSource(tmp_path / 'root')
    with pytest.raises(UserError, match='without frames'):
        source.length('001')
    for name in ('7.png', '8.png', '10.png', '9.png', '.hidden.png', 'Thumbs.db'):
        (clip / name).write_bytes(path.read_bytes())
    assert source.files('001') == ['7.png', '8.png', '9.png', '10.png']
    assert source.size('001') == (20, 30)
    assert np.array_equal(source.read('001', 2, (3, 4, 5, 6)), read_picture(path)[3:8, 4:10])
    (clip / '9.png').unlink()
    with pytest.raises(UserError, match='number 9'):
        FolderSource(tmp_path / 'root').length('001')
    with pytest.raises(UserError, match='folder not found'):
        FolderSource(tmp_path / 'none')
    with pytest.raises(UserError, match='no clips'):
        FolderSource(clip)


@pytest.mark.parametrize('name', ['frames', '.frames'])
def test_a_folder_of_pictures_is_read_whatever_lies_beside_it(tmp_path, path, name):
    (tmp_path / 'a' / 'b').mkdir(parents=True)  # which makes those beside it scenes of clips
    (tmp_path / name).mkdir()
    for i in range(2):
        (tmp_path / name / f'{i}.png').write_bytes(path.read_bytes())
    assert open_input(tmp_path / name, Reading()).frames_hint == 2
    ((clip, frames),) = clips_at(tmp_path / name).items()
    assert (clip, len(list(frames()))) == (name, 2)


@pytest.mark.parametrize('extension', ['.png', '.jpg'])
def test_cut_off_at_any_place(path, extension):
    file = path.with_suffix(extension)
    smooth = cv2.GaussianBlur(read_picture(path), (0, 0), 3)
    cv2.imwrite(str(file), smooth, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1] if extension == '.jpg' else [])
    whole = file.read_bytes()
    assert read_picture(file).shape == smooth.shape
    for end in range(0, len(whole) - 1, 11):
        file.write_bytes(whole[:end])
        with pytest.raises(UserError, match='damaged picture'):
            read_picture(file)
        try:
            size = picture_size(file)
        except UserError:
            continue
        assert size == (20, 30)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_flipped_bytes_never_pass_unseen(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp('flip')
    cv2.imwrite(str(folder / '0.png'), np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    good, content = read_picture(folder / '0.png'), bytearray((folder / '0.png').read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    (folder / '0.png').write_bytes(content)
    try:
        found = read_picture(folder / '0.png')
    except UserError:
        return
    assert np.array_equal(found, good)


@pytest.mark.parametrize('progressive', [0, 1])
def test_size_comes_from_the_header_alone(path, progressive, monkeypatch):
    black = np.zeros((35, 50, 3), np.uint8)
    cv2.imwrite(str(path.with_suffix('.jpg')), black, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])
    monkeypatch.setattr(sources, 'read_picture', None)
    assert picture_size(path.with_suffix('.jpg')) == (35, 50)
    assert picture_size(path) == (20, 30)


def test_size_changes_within_a_clip(path):
    cv2.imwrite(str(path.with_name('1.png')), np.zeros((20, 31, 3), np.uint8))
    with pytest.raises(UserError, match=r'1\.png[\s\S]*31x20, the first has 30x20'):
        FolderSource(path.parent.parent).read(path.parent.name, 1)


def test_damaged_lengths_and_sizes_do_not_exhaust_the_memory(path):
    """OpenCV allocates what a damaged header asks for, and raises its own error for more than it allows."""
    whole = path.read_bytes()
    place = whole.index(b'IDAT') - 4
    path.write_bytes(whole[:place] + b'\xff' + whole[place + 1 :])
    with pytest.raises(UserError, match='damaged picture'):
        read_picture(path)
    photo = path.with_suffix('.jpg')
    cv2.imwrite(str(photo), np.zeros((20, 30, 3), np.uint8))
    whole = photo.read_bytes()
    place = whole.index(b'\xff\xc0') + 5
    photo.write_bytes(whole[:place] + b'\xff' * 4 + whole[place + 4 :])
    with pytest.raises(UserError, match='damaged picture'):
        read_picture(photo)
