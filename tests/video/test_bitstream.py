"""What headers say of streams whose settings are known."""

import csv

import numpy as np
import pytest
from test_metadata import pan, write

from votes.video.bitstream import read_bitstream, settings_of
from votes.video.headers.bits import Bits, sei_text, unescaped, units
from votes.video.headers.vp9 import frames_of

FRAMES = pan(26, size=(128, 192))


def test_h264(tmp_path):
    params = 'keyint=10:min-keyint=10:scenecut=0:bframes=3:b-adapt=0:ref=5:deblock=-2,1:b-pyramid=normal'
    stream = read_bitstream(write(tmp_path / 'v.mp4', FRAMES, **{'qp': '30', 'x264-params': params}))
    assert (stream.codec, stream.profile, stream.size, stream.rate) == ('h264', 'High', (128, 192), 25)
    assert stream.keys == [0, 10, 20]
    assert stream.gop == 10
    assert stream.bframes == 3
    assert stream.pyramid
    assert stream.references == 5
    assert stream.deblocking == '-2:1'
    assert stream.features['cabac']
    assert set(stream.qp_of('I')) == {27}
    assert set(stream.qp_of('P')) == {30}
    assert 31 <= np.mean(stream.qp_of('B')) <= 32
    assert all(frame.spread == 0 for frame in stream.frames), 'one quantiser a frame'
    assert stream.settings['ref'] == '5'
    assert stream.settings['deblock'] == '1:-2:1'
    size = (tmp_path / 'v.mp4').stat().st_size
    assert 0.8 < stream.kbps * 1000 / 8 * 26 / 25 / size < 1
    fast = write(tmp_path / 'f.mkv', FRAMES, crf='28', preset='ultrafast', bf='0')
    plain = read_bitstream(fast, limit=20)
    assert (plain.deblocking, plain.features['cabac'], plain.bframes, plain.pyramid) == ('off', False, 0, None)
    assert plain.gop is None
    assert len(plain.frames) == 20


@pytest.mark.parametrize('depth', ['veryfast', 'slow'])
def test_hevc_against_the_encoders_own_log(tmp_path, monkeypatch, depth):
    monkeypatch.chdir(tmp_path)
    log = 'crf=27:keyint=12:min-keyint=12:scenecut=0:bframes=4:frame-threads=1:pools=1:csv=log.csv:csv-log-level=2'
    stream = read_bitstream(
        write(tmp_path / 'v.mp4', FRAMES, 'libx265', **{'preset': depth, 'x265-params': f'{log}:log-level=none'})
    )
    rows = [row for row in csv.DictReader((tmp_path / 'log.csv').open(), skipinitialspace=True) if row['POC'].strip()]
    rows = [row for row in rows if 'SLICE' in (row.get('Type') or '')]
    said = [row['Type'].strip().split('-')[0].upper() for row in sorted(rows, key=lambda r: int(r['Encode Order']))]
    assert stream.profile == 'Main'
    assert stream.gop == 12
    assert sorted(stream.types) == sorted(said)
    mean = np.mean([float(row['QP']) for row in rows])
    assert abs(stream.qp - mean) < 1
    assert stream.settings['bframes'] == '4'
    assert 'unread_headers' not in stream.features
    assert any('HEVC' in line for line in stream.unknown)


def test_vp9(tmp_path):
    options = {'crf': '40', 'b': '0', 'g': '9', 'auto-alt-ref': '1', 'lag-in-frames': '8', 'cpu-used': '8'}
    stream = read_bitstream(write(tmp_path / 'v.webm', FRAMES, 'libvpx-vp9', **options))
    assert (stream.codec, stream.profile) == ('vp9', 'Profile 0')
    assert len(stream.frames) == 26
    assert stream.gop == 9
    assert 100 < stream.qp < 200, 'crf 40 stands for the index 164'
    assert stream.encoder == ''


def test_what_other_codecs_do_not_say(tmp_path):
    stream = read_bitstream(write(tmp_path / 'v.mkv', FRAMES[:6], 'mpeg4', bf='0'))
    assert (stream.types, stream.qp, stream.references) == ('IPPPPP', None, None)
    assert stream.unknown


def test_numbers_and_units():
    bits = Bits(bytes([0b10100110, 0b01000010, 0b10000000]))
    assert [bits.ue() for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(EOFError):
        Bits(b'\0').ue()
    assert unescaped(b'\0\0\3\1') == b'\0\0\1'
    assert list(units(b'\0\0\0\1ab\0\0\1c', 0)) == [b'ab', b'c']
    assert list(units(b'\0\2ab\0\1c', 2)) == [b'ab', b'c']
    assert sei_text(bytes([5, 18]) + bytes(16) + b'hi') == 'hi'
    assert sei_text(bytes([1, 1, 7, 5, 18]) + bytes(16) + b'\xff\1') == '', 'not a text'
    index = bytes([0xC1, 2, 1, 0xC1])  # two frames, sizes of one byte
    assert list(frames_of(b'xxy' + index)) == [b'xx', b'y']
    assert settings_of('x264 - core 165 - options: cabac=1 ref=3 crf=23.0')['crf'] == '23.0'
    assert settings_of('x265 (build 215) - options: bframes=4 no-sao b-pyramid')['sao'] == '0'
