"""Every frame source gives the same frames; stores are written whole, resumed, and checked."""

import json
import os
import re
import resource
import shutil
from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import write_clip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_video_sources import write_video

from votes.cli import main
from votes.data import build_train_set
from votes.data.packed_source import PackedSource
from votes.data.pairs import ClipPairs
from votes.data.sources import FolderSource, kind_of, open_source
from votes.data.tools import pack as packing
from votes.data.tools.pack import pack, verify
from votes.errors import UserError
from votes.options import load_options
from votes.processes.lease import Lease
from votes.registry import SOURCES

CLIPS = {'000': (5, (24, 40)), '001': (7, (18, 22))}


def quiet(line):
    pass


@pytest.fixture
def folders(tmp_path):
    for i, (name, (frames, size)) in enumerate(CLIPS.items()):
        write_clip(tmp_path / 'frames' / name, frames, size, seed=i)
    return tmp_path / 'frames'


@pytest.fixture(params=['packed', 'lmdb'])
def store(request, folders, tmp_path):
    pack(folders, tmp_path / 'store', request.param, say=quiet)
    return tmp_path / 'store'


def test_the_same_frames(store, folders):
    one, two = FolderSource(folders), open_source(store)
    assert type(two) is SOURCES.get(kind_of(store))
    assert one.clips() == two.clips() == list(CLIPS)
    for clip in one.clips():
        assert one.length(clip) == two.length(clip)
        assert one.size(clip) == two.size(clip)
        for i in range(one.length(clip)):
            assert np.array_equal(one.read(clip, i), two.read(clip, i))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_crops_are_parts_of_the_frame(store, data):
    source = open_source(store)
    clip = data.draw(st.sampled_from(source.clips()))
    height, width = source.size(clip)
    index = data.draw(st.integers(0, source.length(clip) - 1))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    crop = (top, left, data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left)))
    part = source.read(clip, index, crop)
    assert part.shape == (*crop[2:], 3)
    assert np.array_equal(part, source.read(clip, index)[top : top + crop[2], left : left + crop[3]])
    part[:] = 0  # it is the reader's own: the store must not change
    assert np.array_equal(source.read(clip, index), open_source(store).read(clip, index))


def test_stores_as_training_pairs(pairs, tmp_path):
    root = pairs()
    pack(root / 'lq', tmp_path / 'lq.lmdb', 'lmdb', say=quiet)
    pack(root / 'gt', tmp_path / 'gt_packed', say=quiet)
    plain = ClipPairs(root / 'gt', root / 'lq', 2)
    mixed = ClipPairs(tmp_path / 'gt_packed', tmp_path / 'lq.lmdb', 2)
    assert plain.lengths == mixed.lengths
    crop = (2, 3, 8, 8)
    assert np.array_equal(plain.read_gt('001', 3, crop), mixed.read_gt('001', 3, crop))
    assert np.array_equal(plain.lq.read('001', 3, crop), mixed.lq.read('001', 3, crop))


def test_basicsr_reads_what_is_written(folders, tmp_path):
    """Its layout: PNG files under CLIP/NUMBER, and a line KEY.png (H,W,3) LEVEL for each."""
    lmdb = pytest.importorskip('lmdb')
    pack(folders, tmp_path / 'x.lmdb', 'lmdb', say=quiet)
    lines = (tmp_path / 'x.lmdb' / 'meta_info.txt').read_text().splitlines()
    assert lines[0] == '000/00000000.png (24,40,3) 1'
    with lmdb.open(str(tmp_path / 'x.lmdb'), readonly=True, lock=False).begin() as transaction:
        data = transaction.get(b'001/00000006')
    assert np.array_equal(
        cv2.imdecode(np.frombuffer(data, np.uint8), 1)[..., ::-1], FolderSource(folders).read('001', 6)
    )


@pytest.mark.parametrize('to', ['packed', 'lmdb'])
def test_an_interrupted_packing_goes_on(folders, tmp_path, to, monkeypatch):
    target, said = tmp_path / 'store', []
    monkeypatch.setattr(packing, 'SHARD', 1)  # a shard a clip
    monkeypatch.setattr(packing, 'BATCH', 1)  # of an LMDB frame by frame
    with monkeypatch.context() as broken:

        def full(*args):
            raise OSError(28, 'No space left on device')

        original = packing._pack_shard
        first = iter([1])
        broken.setattr(packing, '_pack_shard', lambda *a: original(*a) if next(first, None) else full())
        original_put = packing._put
        few = iter(range(6))
        broken.setattr(packing, '_put', lambda *a: original_put(*a) if next(few, None) is not None else full())
        with pytest.raises(UserError, match='cannot be written'):
            pack(folders, target, to, say=quiet)
    assert not target.exists(), 'nothing that looks whole'
    with pytest.raises(UserError, match=r'no packed frames|no LMDB'):
        SOURCES.get(to)(tmp_path / 'store.partial')
    pack(folders, target, to, say=said.append)
    assert any('was there' in line for line in said)
    assert verify(target) == []
    assert not (tmp_path / 'store.partial').exists()
    with pytest.raises(UserError, match='exists'):
        pack(folders, target, to)


def test_another_job_in_the_same_place(folders, tmp_path):
    partial = tmp_path / 'store.partial'
    partial.mkdir()
    (partial / 'job.json').write_text(json.dumps({'source': 'elsewhere', 'to': 'packed'}))
    with pytest.raises(UserError, match='another job'):
        pack(folders, tmp_path / 'store')


def test_damage_is_found(store):
    assert verify(store) == []
    path = store / ('shard_00000.npy' if kind_of(store) == 'packed' else 'data.mdb')
    data = bytearray(path.read_bytes())
    if kind_of(store) == 'packed':
        data[-7] ^= 1
    else:
        for found in re.finditer(b'IDAT', bytes(data)):
            data[found.end() + 20 : found.end() + 40] = bytes(20)
    path.write_bytes(data)
    problems = verify(store)
    assert problems
    assert problems[0].startswith('00')
    assert main(['pack', str(store), '--verify']) == 1


def test_a_damaged_picture_stops_packing(folders, tmp_path):
    picture = folders / '001' / '00000003.png'
    picture.write_bytes(picture.read_bytes()[:100])
    for to in ('packed', 'lmdb'):
        with pytest.raises(UserError) as caught:
            pack(folders, tmp_path / to, to, say=quiet)
        assert '00000003.png' in str(caught.value)
        assert not (tmp_path / to).exists()


def test_no_room(folders, tmp_path, monkeypatch, capsys):
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr('shutil.disk_usage', lambda path: usage(10**9, 10**9, 1000))
    for to in ('packed', 'lmdb'):
        assert main(['pack', str(folders), str(tmp_path / to), '--to', to]) == 2
        said = capsys.readouterr().err
        assert 'too little room' in said
        assert '0.07 GB needed: 0.00 GB for what is missing, and 0.07 GB that stay free' in said


def test_no_room_is_found_before_the_first_shard(folders, tmp_path, monkeypatch):
    """Room for one clip and not for both: nothing is written in vain."""
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(packing, 'SHARD', 1)
    monkeypatch.setattr('shutil.disk_usage', lambda path: usage(10**9, 10**9, packing.RESERVE + 5 * 24 * 40 * 3 + 9))
    with pytest.raises(UserError, match='too little room'):
        pack(folders, tmp_path / 'store', say=quiet)
    assert not list((tmp_path / 'store.partial').glob('*.npy'))


def test_frames_are_written_to_an_lmdb_many_at_once(folders, tmp_path, monkeypatch):
    """A writing waits for the disk: at 64 612 clips one for each frame took hours."""
    original, calls = packing._put, []
    monkeypatch.setattr(packing, '_put', lambda *a: calls.append(1) or original(*a))
    pack(folders, tmp_path / 'x.lmdb', 'lmdb', say=quiet)
    assert len(calls) == 1
    assert verify(tmp_path / 'x.lmdb') == []


def test_two_packs_into_one_folder(folders, tmp_path):
    """The second is refused by name, and not told to make room."""
    partial = tmp_path / 'store.partial'
    partial.mkdir()
    with Lease(partial, 'packing'), pytest.raises(UserError, match='owns this folder: packing') as caught:
        pack(folders, tmp_path / 'store', say=quiet)
    assert str(os.getpid()) in str(caught.value)
    assert 'room' not in str(caught.value)
    pack(folders, tmp_path / 'store', say=quiet)
    assert verify(tmp_path / 'store') == []


def test_a_store_of_many_clips_keeps_few_files_open(tmp_path):
    """1000 clips in the layout of version 0.1, a file each, and in shards, with 256 files allowed."""
    (tmp_path / 'old').mkdir()
    clips = {}
    for i in range(1000):
        np.save(tmp_path / 'old' / f'{i:04d}.npy', np.full((1, 2, 3, 3), i % 251, np.uint8))
        clips[f'{i:04d}'] = {'shape': [1, 2, 3, 3], 'sha256': ''}
    (tmp_path / 'old' / 'packed.json').write_text(json.dumps({'clips': clips}))
    pack(tmp_path / 'old', tmp_path / 'new', say=quiet)
    assert len(list((tmp_path / 'new').iterdir())) == 2
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        for store in ('old', 'new'):
            source = open_source(tmp_path / store)
            assert [int(source.read(clip, 0)[0, 0, 0]) for clip in source.clips()] == [i % 251 for i in range(1000)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize('name', ['/etc/x', '../x', 'a/../../x', 'C:/x', ''])
def test_clip_names_that_lead_out_of_their_folder(tmp_path, name):
    lmdb = pytest.importorskip('lmdb')
    with lmdb.open(str(tmp_path / 'x.lmdb')):
        pass
    (tmp_path / 'x.lmdb' / 'meta_info.txt').write_text(f'{name}/00000000.png (24,40,3) 1\n')
    (tmp_path / 'packed').mkdir()
    about = {'shape': [1, 2, 2, 3], 'sha256': '', 'shard': 's.npy', 'offset': 0}
    (tmp_path / 'packed' / 'packed.json').write_text(json.dumps({'clips': {name: about}}))
    for store in ('x.lmdb', 'packed'):
        with pytest.raises(UserError, match='not a folder below') as caught:
            open_source(tmp_path / store)
        assert store in str(caught.value)


def test_start_up_is_linear_in_clips(tmp_path, monkeypatch):
    """The names of a source are asked for a few times, however many clips it has (it was once or more a clip)."""
    counts = []
    for count in (20, 40):
        about = {f'{i:03d}': {'shape': [5, 4, 4, 3], 'sha256': '', 'shard': 's.npy', 'offset': 0} for i in range(count)}
        root = tmp_path / str(count)
        root.mkdir()
        (root / 'packed.json').write_text(json.dumps({'clips': about}))
        asked = []
        with monkeypatch.context() as counted:
            counted.setattr(PackedSource, 'clips', lambda self, asked=asked: asked.append(1) or sorted(self.manifest))
            assert len(ClipPairs(root, root, 1).names()) == count
        counts.append(len(asked))
    assert counts[0] == counts[1] <= 4


@pytest.mark.parametrize('kind', ['lmdb', 'packed', 'video', 'yuv'])
def test_what_is_not_there_is_named(kind, tmp_path):
    with pytest.raises(UserError) as caught:
        open_source(tmp_path / 'nowhere', {'type': kind})
    assert 'nowhere' in str(caught.value)
    with pytest.raises(UserError, match='unknown frame store'):
        open_source(tmp_path, {'type': 'petrel'})


def test_training_from_stores(place, capsys):
    for name in ('gt', 'lq'):
        assert main(['pack', name, f'{name}_packed']) == 0
    roots = {f'datasets__train__dataroot_{n}': f'{n}_packed' for n in ('gt', 'lq')}
    file = place(**roots, datasets__train__num_worker_per_gpu=1, datasets__train__io_backend={'type': 'packed'})
    assert main(['train', '-opt', file]) == 0
    assert Path('experiments/tiny/models/net_g_4.pth').exists()
    capsys.readouterr()
    assert main(['bench-data', '-opt', file, '--seconds', '0.2']) == 0
    text = capsys.readouterr().out
    assert 'LQ packed, GT packed' in text
    assert 'samples/s on one core' in text


@pytest.fixture(scope='module')
def every_kind(tmp_path_factory):
    """One clip in every kind of source: {kind: (root, file that will be damaged)}."""
    root = tmp_path_factory.mktemp('kinds')
    frames = list(write_clip(root / 'png' / '000', 8, (32, 48)))
    pack(root / 'png', root / 'packed', 'packed', say=str)
    pack(root / 'png', root / 'lmdb', 'lmdb', say=str)
    for suffix in ('mp4', 'mkv'):
        (root / suffix).mkdir()
        write_video(root / suffix / f'000.{suffix}', frames)
    (root / 'yuv').mkdir()
    (root / 'yuv' / '000_48x32.yuv').write_bytes(bytes(32 * 48 * 3 // 2 * 4))
    files = ('packed/shard_00000.npy', 'packed/packed.json', 'lmdb/data.mdb', 'lmdb/meta_info.txt', 'mp4/000.mp4')
    return root, [*files, 'mkv/000.mkv', 'yuv/000_48x32.yuv', 'png/000/00000003.png']


@pytest.mark.parametrize('seed', range(8))
def test_damaged_files_are_named_or_read(every_kind, tmp_path, seed):
    """Cut or flipped anywhere: never another error than one that names the file or its folder."""
    root, files = every_kind
    for name in files:
        rng = np.random.default_rng((seed, len(name)))
        place = tmp_path / name.split('/')[0]
        shutil.copytree(root / place.name, place)
        data = bytearray((tmp_path / name).read_bytes())
        if seed % 2:
            data = data[: int(rng.integers(len(data)))]
        else:
            for i in rng.integers(len(data), size=1 + 10 * (seed % 4)):
                data[i] ^= 1 << int(rng.integers(8))
        (tmp_path / name).write_bytes(data)
        told = str(place)
        try:
            source = open_source(place)
            for clip in source.clips():
                for i in range(source.length(clip)):
                    source.read(clip, i)
        except UserError as error:
            told = str(error)
        assert str(place) in told, name
        shutil.rmtree(place)


class Noted(FolderSource):
    """A store of a user's own."""


def test_a_store_of_a_users_own_is_a_class(place):
    file = place(datasets__train__io_backend={'type': f'{__name__}:Noted'})
    opt = load_options(file)
    dataset = build_train_set(opt.datasets['train'], 2, 0)
    assert type(dataset.pairs.gt) is Noted
    with pytest.raises(UserError, match='module:Class'):
        load_options(place(datasets__train__io_backend={'type': f'{__name__}:Missing'}))
