"""Metrics against implementations of others."""

from fractions import Fraction

import av
import bjontegaard
import cv2
import numpy as np
import pytest
import torch
from pytorch_msssim import ms_ssim as their_ms_ssim
from skimage import data

from votes.errors import UserError
from votes.metrics.bd_rate import bd_rate
from votes.metrics.psnr_ssim import calculate_ms_ssim, calculate_psnr, calculate_ssim, ms_ssim, planes, psnr, ssim
from votes.metrics.temporal import flow, fluctuation, tof, visible, warping_error


def pair(size, noise=12, seed=0):
    picture = cv2.resize(data.astronaut(), size[::-1], interpolation=cv2.INTER_AREA)
    noisy = picture + np.random.default_rng(seed).normal(0, noise, picture.shape)
    return picture, noisy.clip(0, 255).round().astype(np.uint8)


def batch(pictures):
    return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2))


@pytest.mark.parametrize('size', [(200, 232), (177, 301), (256, 180)])
@pytest.mark.parametrize('luma', [True, False])
def test_ms_ssim(size, luma):
    """pytorch-msssim, whose window is float32 unless it is handed over: 1e-6 is its rounding."""
    first, second = pair(size)
    x, y = (planes(batch([p]), 0, 'y' if luma else 'rgb') for p in (first, second))
    wanted = their_ms_ssim(x, y, data_range=255, win_size=11, win_sigma=1.5).item()
    assert calculate_ms_ssim(first, second, 0, luma) == pytest.approx(wanted, abs=1e-6)


def test_a_batch_is_its_frames():
    pairs = [pair((180, 190), noise, seed) for seed, noise in enumerate((3, 10, 30))]
    first, second = (planes(batch(side), 2, 'y') for side in zip(*pairs, strict=True))
    for measure, single in ((psnr, calculate_psnr), (ssim, calculate_ssim)):
        assert measure(first, second).tolist() == pytest.approx([single(*p, 2, True) for p in pairs], abs=1e-12)
    with pytest.raises(UserError, match='176 pixels'):
        ms_ssim(first[..., :170, :], second[..., :170, :])


def ffmpeg_filter(name, first, second):
    """The metadata that ffmpeg's psnr or ssim filter gives for two gbrp frames."""
    graph = av.filter.Graph()
    shape = {'width': first.shape[1], 'height': first.shape[0], 'format': 'gbrp', 'time_base': Fraction(1, 25)}
    sources = [graph.add_buffer(**shape) for _ in range(2)]
    node, sink = graph.add(name), graph.add('buffersink')
    for number, source in enumerate(sources):
        source.link_to(node, 0, number)
    node.link_to(sink)
    graph.configure()
    for source, picture in zip(sources, (first, second), strict=True):
        frame = av.VideoFrame.from_ndarray(picture, 'rgb24').reformat(format='gbrp')
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        source.push(frame)
        source.push(None)
    return dict(sink.pull().metadata)


@pytest.mark.parametrize('noise', [2, 15])
def test_ffmpegs_filters(noise):
    """PSNR to the two decimals that the filter tells. SSIM to 0.05: it takes plain 8x8 blocks, not a window."""
    first, second = pair((128, 160), noise)
    wanted = float(ffmpeg_filter('psnr', first, second)['lavfi.psnr.psnr_avg'])
    assert calculate_psnr(first, second, 0) == pytest.approx(wanted, abs=0.006)
    wanted = float(ffmpeg_filter('ssim', first, second)['lavfi.ssim.All'])
    assert calculate_ssim(first, second, 0) == pytest.approx(wanted, abs=0.05)


CURVE = [(100.0, 30.0), (200.0, 32.5), (400.0, 34.9), (800.0, 36.2), (1500.0, 37.1)]


@pytest.mark.parametrize('factor', [0.7, 1.0, 1.3])
@pytest.mark.parametrize('shift', [-0.4, 0.0, 0.9])
def test_bd_rate(factor, shift):
    other = [(rate * factor * (1 + 0.02 * i), quality + shift) for i, (rate, quality) in enumerate(CURVE)]
    (r1, q1), (r2, q2) = zip(*CURVE, strict=True), zip(*other, strict=True)
    wanted = bjontegaard.bd_rate(r1, q1, r2, q2, method='pchip', require_matching_points=False, min_overlap=0)
    assert bd_rate(CURVE, other) == pytest.approx(wanted, abs=1e-9)


def test_bd_rate_by_hand_and_what_it_refuses():
    assert bd_rate(CURVE, [(2 * r, q) for r, q in CURVE]) == pytest.approx(100)
    for bad, words in (
        (CURVE[:3], 'four points'),
        ([(r, 60 + q) for r, q in CURVE], 'no quality in common'),
        ([*CURVE, (2000.0, 20.0)], 'rising'),
    ):
        with pytest.raises(UserError, match=words):
            bd_rate(CURVE, bad)


def moved(shift, size=(96, 128)):
    """A photograph that was moved to the right by `shift` pixels."""
    picture = cv2.resize(data.astronaut(), (256, 256), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(picture[60 : 60 + size[0], 60 - shift : 60 - shift + size[1]])


def test_flow_and_what_is_seen():
    found = flow(moved(0), moved(3))
    assert np.median(found[..., 0]) == pytest.approx(3, abs=0.1)
    assert np.median(found[..., 1]) == pytest.approx(0, abs=0.1)
    assert visible(found, flow(moved(3), moved(0)))[10:-10, 10:-10].mean() > 0.9


def test_steadiness():
    """A moving video that is steady has a small warping error; flicker and other motion show."""
    previous, frame = moved(0), moved(3)
    steady = warping_error(previous, frame, (previous, frame))
    flicker = (frame * 0.8).astype(np.uint8)
    assert steady < 1e-3
    assert warping_error(previous, flicker, (previous, frame)) > 5 * steady
    assert tof((previous, frame), (previous, frame)) == 0
    assert tof((previous, frame), (previous, moved(5))) == pytest.approx(2, abs=0.3)
    assert fluctuation([30.0, 32.0, float('inf')]) == 1.0
