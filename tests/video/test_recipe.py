import json
import shutil
import subprocess
import threading
import weakref
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from decoded import decoded, last_generation
from test_metadata import pan

from votes.cli import main
from votes.data.degrading import degrade_source, write_clip
from votes.errors import UserError
from votes.video.degrade import encode_h264
from votes.video.recipe import Degradation, Recipe, degrade, read_recipe

STOCK = sorted((Path(__file__).resolve().parents[2] / 'options' / 'degrade').glob('*.yml'))
CLIP = [cv2.resize(f, (256, 192), interpolation=cv2.INTER_CUBIC) for f in pan(10, size=(96, 128))]
# x264 is not repeatable for pictures of fewer than four macroblocks in height: shrunk by 4, these still have four
HIGHER = [cv2.resize(f, (256, 256), interpolation=cv2.INTER_CUBIC) for f in CLIP]


def recipe(**changes):
    return Recipe(**{'name': 'r', 'scale': 2, 'generations': [{'qp': 33}], **changes})


@pytest.mark.parametrize('path', STOCK, ids=lambda p: p.stem)
def test_every_stock_recipe(path):
    """It reads, runs, gives as many frames of the size it says, and says what it assumes."""
    stock = read_recipe(path)
    assert stock.name == path.stem
    assert stock.about
    assert ('an assumption' in stock.about) == path.stem.endswith('_like') or path.stem == 'ntire21_track1_like'
    small = 256 // stock.scale
    originals = [np.ascontiguousarray(f[: small * stock.scale, : small * stock.scale]) for f in HIGHER]
    frames, done = degrade(originals, stock)
    assert len(frames) == len(originals)
    assert {f.shape for f in frames} == {(small, small, 3)}
    assert [len(g.types) for g in done] == [len(originals)] * len(stock.generations)
    assert all(g.bytes > 0 and g.kbps > 0 for g in done)
    again, _ = degrade(originals, stock)
    assert all(np.array_equal(a, b) for a, b in zip(frames, again, strict=True)), 'the same again'


def test_quantisers_are_those_asked_for():
    _, (generation,) = degrade(pan(24, size=(96, 128)), read_recipe(STOCK[0].with_name('reds_x2_qp33.yml')))
    assert generation.types[0] == 'I'
    assert set(generation.types) == set('IPB')
    assert 32 < generation.qp < 35


def test_reds_is_what_the_ffmpeg_program_makes(tmp_path):
    frames, _ = degrade(HIGHER, recipe(generations=[{'qp': 28}]))
    encode_h264(HIGHER, tmp_path / 'same.mp4', 28, tuple(n // 2 for n in HIGHER[0].shape[:2]))
    with av.open(str(tmp_path / 'same.mp4')) as container:
        same = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
    assert all(np.array_equal(a, b) for a, b in zip(frames, same, strict=True))


def ffmpeg_program():
    """The machine's, or the one that a wheel brings."""
    try:
        import imageio_ffmpeg

        return shutil.which('ffmpeg') or imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return shutil.which('ffmpeg')


@pytest.mark.skipif(ffmpeg_program() is None, reason='no ffmpeg program here')
@pytest.mark.parametrize('name', ['reds_x2_qp33', 'reds_x2_qp28', 'reds_x4_qp28', 'reds_x4_qp33'])
def test_the_ffmpeg_program_does_the_same(tmp_path, name):
    """Same picture types, quantisers and frames with as many threads; x264 with others moves a few blocks."""
    recipe = read_recipe(STOCK[0].with_name(f'{name}.yml'))
    ffmpeg = ffmpeg_program()
    size, qp = f'{256 // recipe.scale}x{192 // recipe.scale}', recipe.generations[0].qp
    for i, frame in enumerate(CLIP):
        cv2.imwrite(str(tmp_path / f'{i:08d}.png'), frame[..., ::-1])
    ours, _ = degrade(CLIP, recipe)
    said = last_generation(CLIP, recipe)
    for threads, tolerance in (('2', 0), ('5', 1)):
        encode = f'{ffmpeg} -loglevel error -f image2 -i {tmp_path}/%08d.png -vcodec libx264 -threads {threads} -r 25'
        subprocess.run(
            [*f'{encode} -qp {qp} -y -s {size} -pix_fmt yuv420p'.split(), str(tmp_path / 'c.mp4')], check=True
        )
        (tmp_path / threads).mkdir()
        decode = f'{ffmpeg} -loglevel error -i {tmp_path}/c.mp4 -f image2 -start_number 0 {tmp_path}/{threads}/%08d.png'
        subprocess.run(decode.split(), check=True)
        theirs = [cv2.imread(str(p))[..., ::-1].astype(int) for p in sorted((tmp_path / threads).iterdir())]
        video = decoded(tmp_path / 'c.mp4')
        assert video.types == said.types
        assert np.array_equal(video.qp, said.qp)
        assert np.mean(np.abs(np.stack(theirs) - np.stack(ours))) <= tolerance


def test_more_compression_is_worse_and_smaller():
    def outcome(**encoding):
        frames, (generation,) = degrade(CLIP, recipe(scale=1, generations=[encoding]))
        return np.mean([(f.astype(float) - c) ** 2 for f, c in zip(frames, CLIP, strict=True)]), generation.bytes

    for weak, strong in (({'crf': 20}, {'crf': 38}), ({'kbps': 900}, {'kbps': 80}), ({'qp': 24}, {'qp': 40})):
        assert outcome(**strong)[0] > outcome(**weak)[0]
        assert outcome(**strong)[1] < outcome(**weak)[1]


def test_chroma_at_the_left_and_nothing_else():
    def shown(siting):
        (frame,), _ = degrade(CLIP[:1], recipe(scale=1, generations=[{'crf': 1, 'chroma_siting': siting}]))
        luma = frame @ np.array([0.299, 0.587, 0.114])
        return luma, frame[..., 2] - luma

    (luma, blue), (same, moved) = shown('centre'), shown('left')
    assert np.abs(luma - same).mean() < 1
    slope = (np.roll(blue, -1, 1) - np.roll(blue, 1, 1))[:, 4:-4] / 2
    assert -((moved - blue)[:, 4:-4] * slope).sum() / (slope**2).sum() == pytest.approx(0.5, abs=0.2)
    with pytest.raises(ValueError, match='chroma_siting needs'):
        recipe(generations=[{'crf': 20, 'chroma_siting': 'left', 'pix_fmt': 'yuv444p'}])


def test_bars_are_coded_and_cut_off_again(tmp_path):
    (tmp_path / 'HQ').mkdir()
    write_clip(tmp_path / 'HQ' / 'c', CLIP[:3])
    barred = recipe(bars=[8, 0, 12, 4], generations=[{'crf': 5}, {'crf': 5}])
    degrade_source(tmp_path / 'HQ', tmp_path / 'LQ', barred, videos=tmp_path / 'V', once=tmp_path / 'O')
    plain, _ = degrade(CLIP[:3], recipe(generations=[{'crf': 5}, {'crf': 5}]))
    for folder in ('LQ', 'O'):
        frames = [cv2.imread(str(path))[..., ::-1] for path in sorted((tmp_path / folder / 'c').iterdir())]
        assert {f.shape for f in frames} == {plain[0].shape}
        assert np.mean([(f.astype(float) - p) ** 2 for f, p in zip(frames, plain, strict=True)]) < 60, 'in their place'
    with av.open(str(tmp_path / 'V' / 'c.mkv')) as container:
        first = next(container.decode(video=0)).to_ndarray(format='rgb24')
    assert first.shape == (96 + 20, 128 + 4, 3)
    assert first[:5].max() < 16
    assert first[:, -3:].max() < 16
    assert barred.without('bars').bars is None
    with pytest.raises(UserError, match='with bars'):
        degrade_source(tmp_path / 'HQ', tmp_path / 'M', barred, metadata=tmp_path / 'm')
    with pytest.raises(ValueError, match='even together'):
        recipe(bars=[1, 0, 0, 0])


def test_steps_before_the_codec():
    plain, _ = degrade(CLIP, recipe(generations=[{'crf': 5}]))
    blurred, _ = degrade(CLIP, recipe(blur=3, generations=[{'crf': 5}]))
    noisy, _ = degrade(CLIP, recipe(noise=12, generations=[{'crf': 5}]))
    edges = [np.abs(np.diff(np.stack(f).astype(float), axis=2)).mean() for f in (blurred, plain, noisy)]
    assert edges[0] < edges[1] < edges[2]
    other, _ = degrade(CLIP, recipe(noise=12, generations=[{'crf': 5}]), seed=1)
    assert not np.array_equal(noisy[0], other[0])
    kernels = {
        k: degrade(CLIP[:2], recipe(kernel=k, generations=[{'crf': 5}]))[0][0]
        for k in ('area', 'lanczos', 'matlab_bicubic', 'ffmpeg_bicubic')
    }
    assert len({k.tobytes() for k in kernels.values()}) == 4


def test_gop_and_bframes():
    _, (generation,) = degrade(pan(20), recipe(generations=[{'qp': 30, 'gop': 5, 'bframes': 0}]))
    assert generation.types == 'IPPPP' * 4


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('name: x\ngenerations: [{codec: libx264}]', 'exactly one of qp, crf and kbps'),
        ('name: x\ngenerations: [{qp: 3, crf: 4}]', 'exactly one of'),
        ('name: x\ngenerations: []', 'generations'),
        ('name: x\nkernal: area\ngenerations: [{qp: 3}]', 'r.yml:2: kernal'),
        ('name: x\ngenerations:\n  - {codec: h263, qp: 3}', 'r.yml:3: generations'),
        ('name: x\ngenerations: [{two_pass: true, crf: 3}]', 'two_pass needs kbps'),
    ],
)
def test_recipes_that_are_wrong(tmp_path, capsys, text, words):
    (tmp_path / 'r.yml').write_text(text)
    assert main(['degrade', '-opt', str(tmp_path / 'r.yml'), 'in', 'out']) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ('encoding', 'words'),
    [
        ('crf: 20, preset: fastest', "no preset 'fastest'"),
        ('qp: 60', 'qp of libx264 goes from 0 to 51, not 60'),
        ('crf: 60', 'crf of libx264 goes from 0 to 51, not 60'),
        ('crf: 20, bframes: 99', 'bframes of libx264 goes from 0 to 16'),
        ('crf: 20, params: "foo=3"', 'foo = 3'),
        ('crf: 20, params: "ref=99:aq-mode=0"', 'makes 16 of ref=99'),
        ('codec: libx265, crf: 20, params: "foo=3"', 'Unknown option: foo'),
        ('codec: libx265, qp: 55', 'goes from 0 to 51'),
        ('codec: libx265, crf: 30, params: "rc-lookahead=999"', 'libx265'),
        ('codec: mpeg4, crf: 30', 'mpeg4 has no crf'),
        ('codec: mpeg4, qp: 40', 'goes from 1 to 31'),
        ('codec: mpeg4, qp: 4, preset: slow', 'mpeg4 has no presets'),
        ('codec: libvpx-vp9, crf: 30, preset: slow', 'libvpx-vp9 has no presets'),
        ('codec: libvpx-vp9, crf: 30, bframes: 2', 'libvpx-vp9 has no bframes'),
        ('codec: libsvtav1, crf: 30, preset: "99"', "no preset '99'"),
        ('codec: libsvtav1, crf: 30, pix_fmt: yuv444p', 'does not take yuv444p'),
        ('qp_cycle: [30, 34]', 'qp_cycle needs libx264, bframes: 0'),
        ('qp_cycle: [30, 64], bframes: 0', 'not 64'),
    ],
)
def test_what_an_encoder_would_refuse_ignore_or_clamp(tmp_path, encoding, words):
    """All of these were taken in silence or ended in a traceback after the first frames."""
    (tmp_path / 'r.yml').write_text(f'name: x\ngenerations:\n  - {{{encoding}}}\n')
    with pytest.raises(UserError) as caught:
        read_recipe(tmp_path / 'r.yml')
    assert words in str(caught.value)
    assert 'r.yml:' in str(caught.value)


@pytest.mark.parametrize('line', ['blur: 1e9', 'noise: 1e9', 'frame_rate: [100000, 1]'])
def test_steps_beyond_all_bounds(tmp_path, line):
    (tmp_path / 'r.yml').write_text(f'name: x\n{line}\ngenerations: [{{qp: 30}}]\n')
    with pytest.raises(UserError, match=line.split(':')[0]):
        read_recipe(tmp_path / 'r.yml')


def test_the_ripple_of_the_challenge_goes_on_to_the_end():
    said = last_generation(pan(30, size=(64, 96)), read_recipe(STOCK[0].with_name('ntire21_track1_like.yml')))
    assert [round(float(qp.mean())) for qp in said.qp] == ([38, 42, 41, 42] * 8)[:30]
    assert set(said.types) == {'I', 'P'}


def write_originals(root, lengths, size=(96, 128)):
    for number, length in enumerate(lengths):
        (root / f'{number:03d}').mkdir(parents=True)
        for i, frame in enumerate(pan(length, size=size)):
            cv2.imwrite(str(root / f'{number:03d}' / f'{i:08d}.png'), frame[..., ::-1])


def test_memory_does_not_grow_with_a_clips_length(tmp_path, monkeypatch):
    """At no time is there more than a handful of decoded originals (it was all of them)."""
    from votes.data import degrading
    from votes.data.sources import FolderSource

    write_originals(tmp_path / 'in', [40])
    alive, most, original = weakref.WeakSet(), [], FolderSource.read

    class Watched(np.ndarray):
        __hash__ = object.__hash__
        __eq__ = object.__eq__

    def read(*args):
        frame = original(*args).view(Watched)
        alive.add(frame)
        most.append(len(alive))
        return frame

    monkeypatch.setattr(FolderSource, 'read', read)
    two = recipe(generations=[{'qp': 30}, {'codec': 'libx265', 'kbps': 90, 'two_pass': True}])
    degrading.degrade_source(tmp_path / 'in', tmp_path / 'out', two, say=str)
    assert len(most) == 40
    assert max(most) <= 4


def test_several_clips_at_a_time_and_metadata_only_when_asked(tmp_path, monkeypatch):
    from votes.data import degrading

    write_originals(tmp_path / 'in', [6, 9, 5, 7])
    once = threading.Barrier(2, timeout=20)
    original = degrading._degrade_clip

    def together(frames, clip, *args):
        if clip in ('000', '001'):
            once.wait()  # breaks unless another clip is made at the same time
        return original(frames, clip, *args)

    made = {}
    for workers in (1, 2):
        target = tmp_path / f'out{workers}'
        with monkeypatch.context() as watched:
            # vectors on a grid are what takes time
            watched.setattr('votes.video.metadata._dense', lambda *a, **k: pytest.fail('nobody asked for it'))
            if workers == 2:
                watched.setattr(degrading, '_degrade_clip', together)
            degrading.degrade_source(tmp_path / 'in', target, recipe(noise=3), workers=workers, say=str)
        made[workers] = json.loads((target / 'manifest.json').read_text())
    assert made[1] == made[2]
    assert made[1]['clips']['001']['generations'][0]['qp'] > 20


def test_a_video_read_directly_is_what_degrade_writes_of_it(tmp_path):
    """One definition of decoding: PNGs of `votes degrade`, and the same video as a frame source."""
    from votes.data.sources import open_source

    (tmp_path / 'videos').mkdir()
    clip = Degradation(lambda: iter(CLIP), len(CLIP), CLIP[0].shape[:2], recipe(), 0, tmp_path / 'videos')
    frames = list(clip.frames())
    source = open_source(tmp_path / 'videos')
    assert all(np.array_equal(frame, source.read('0', i)) for i, frame in enumerate(frames))


@pytest.mark.parametrize('workers', [-1, 0, 1, 9])
def test_any_number_of_workers(tmp_path, workers):
    from votes.data.degrading import degrade_source
    from votes.data.tools.pack import pack, verify

    write_originals(tmp_path / 'in', [3, 2], size=(64, 64))
    degrade_source(tmp_path / 'in', tmp_path / 'out', recipe(), workers=workers, say=str)
    assert (
        'as videos are read here'
        in json.loads((tmp_path / 'out' / 'manifest.json').read_text())['versions']['decoding']
    )
    for to in ('packed', 'lmdb'):
        pack(tmp_path / 'out', tmp_path / to, to, workers=workers, say=str)
        assert verify(tmp_path / to) == []


def test_a_bitrate_that_is_missed_is_said(tmp_path):
    from votes.data.degrading import degrade_source

    write_originals(tmp_path / 'in', [5], size=(96, 128))
    said, scarce = [], {'codec': 'libsvtav1', 'kbps': 5}
    degrade_source(tmp_path / 'in', tmp_path / 'out', recipe(scale=1, generations=[scarce]), say=said.append)
    assert 'NOT the 5 kbit/s asked for' in said[0]
    with pytest.raises(UserError, match=r'libsvtav1 refuses 5 frames of \d+x\d+\n  where: 000'):
        degrade_source(tmp_path / 'in', tmp_path / 'small', recipe(generations=[scarce]), say=said.append)


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, frames in (('000', CLIP), ('001', CLIP[:6])):
        Path('in', name).mkdir(parents=True)
        for i, frame in enumerate(frames):
            cv2.imwrite(f'in/{name}/{i:08d}.png', frame[..., ::-1])
    command = ['degrade', '-opt', str(STOCK[0].with_name('reds_x2_qp33.yml')), 'in', 'out']
    with monkeypatch.context() as broken:
        from votes.data import degrading

        original, calls = degrading._degrade_clip, []

        def once(*args, **kwargs):
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        broken.setattr(degrading, '_degrade_clip', once)
        with pytest.raises(KeyboardInterrupt):
            main([*command, '--workers', '1'])
    assert not Path('out/manifest.json').exists()
    first = Path('out/000/00000000.png').stat().st_mtime_ns
    assert main(command) == 0
    assert Path('out/000/00000000.png').stat().st_mtime_ns == first, 'a finished clip is not made again'
    manifest = json.loads(Path('out/manifest.json').read_text())
    assert manifest['recipe']['generations'][0]['qp'] == 33
    assert len(manifest['clips']['001']['sha256']) == 64
    assert manifest['clips']['000']['generations'][0]['types'][0] == 'I'
    assert len(list(Path('out/001').iterdir())) == 6
    assert sorted(p.name for p in Path('out').iterdir()) == ['000', '001', 'manifest.json']
    assert main(command) == 2
    assert 'the output exists' in capsys.readouterr().err


def test_sizes_that_do_not_divide():
    with pytest.raises(UserError, match='multiples of 8'):
        degrade([f[:90] for f in CLIP], recipe(scale=4))
