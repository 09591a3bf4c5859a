import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from votes.errors import UserError
from votes.metrics.psnr_ssim import calculate_psnr, calculate_ssim, calculate_uniform_ssim
from votes.registry import METRICS


def y_of(picture):
    """RGB (H, W, 3) in [0, 255] -> Y (H, W), 16 to 235, not rounded."""
    return picture.astype(float) @ (np.array([65.481, 128.553, 24.966]) / 255) + 16


def pictures(seed=0, size=(40, 37)):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    noise = rng.integers(-40, 41, first.shape)
    return first, (first.astype(int) + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize('border', [0, 2, 5])
@pytest.mark.parametrize('luma', [False, True])
def test_against_scikit_image(border, luma):
    first, second = pictures()
    inner = slice(border, -border or None)
    a, b = (y_of(x)[inner, inner] if luma else x[inner, inner].astype(float) for x in (first, second))
    wanted = peak_signal_noise_ratio(a, b, data_range=255)
    assert calculate_psnr(first, second, border, luma) == pytest.approx(wanted, abs=1e-9)
    axis = None if luma else 2
    _, score = structural_similarity(
        a,
        b,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=axis,
        full=True,
    )
    assert calculate_ssim(first, second, border, luma) == pytest.approx(score[5:-5, 5:-5].mean(), abs=1e-9)


def test_luma_by_hand():
    picture = np.array([[[255, 255, 255], [0, 0, 0], [255, 0, 0]]], np.uint8)
    np.testing.assert_allclose(y_of(picture), [[235, 16, 81.481]])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999))
def test_symmetric_and_bounded(seed):
    first, second = pictures(seed, (180, 182))
    for name in METRICS.names():
        measure = METRICS.get(name)
        assert measure(first, second, 2, True) == pytest.approx(measure(second, first, 2, True))
        assert measure(first, second, 2) < measure(first, first, 2)
    assert calculate_psnr(first, first, 0) == float('inf')
    assert calculate_ssim(first, first, 0) == pytest.approx(1)


def test_bad_pictures_are_named():
    first, second = pictures()
    with pytest.raises(ValueError, match='one size'):
        calculate_psnr(first, second[:-1], 0)
    with pytest.raises(UserError, match='leaves nothing'):
        calculate_psnr(first, second, 20)
    with pytest.raises(ValueError, match='11x11'):
        calculate_ssim(first, second, 14)


def test_uniform_ssim_is_that_of_scikit_image():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 200, (21, 26, 3)).astype(np.float64)
    second = np.clip(first + rng.normal(0, 20, first.shape), 0, 255)
    expected = structural_similarity(first, second, data_range=255, channel_axis=2)
    assert calculate_uniform_ssim(first, second, 0, rounding='none') == pytest.approx(expected, abs=1e-9)
    y = y_of(np.floor(first)), y_of(np.floor(second))
    span = y[0].max() - y[0].min()
    expected = structural_similarity(*y, data_range=span)
    found = calculate_uniform_ssim(first, second, 0, True, 'truncate', data_range='prediction')
    assert found == pytest.approx(expected, abs=1e-9)


def test_rounding_and_the_middle():
    first = np.full((70, 101, 3), 9.7)
    second = np.full((70, 101, 3), 10, np.uint8)
    assert calculate_psnr(first, second, 0) == np.inf
    assert calculate_psnr(first, second, 0, rounding='truncate') == pytest.approx(20 * np.log10(255))
    assert calculate_psnr(first, second, 0, rounding='none') == pytest.approx(20 * np.log10(255 / 0.3))
    # 70 - 16 = 54 -> 32, 101 - 16 = 85 -> 64: rows 19 to 50, columns 18 to 81
    other = second.copy()
    other[19, 18] = other[50, 81] = 30
    outside = second.copy()
    outside[18], outside[51], outside[:, 17], outside[:, 82] = (30,) * 4
    assert calculate_psnr(outside, second, 0, centre_multiple=32) == np.inf
    assert calculate_psnr(other, second, 0, centre_multiple=32) == pytest.approx(
        10 * np.log10(255**2 / (400 * 2 / (32 * 64)))
    )
    with pytest.raises(UserError, match='leaves nothing'):
        calculate_psnr(first, second, 0, centre_multiple=64)
    with pytest.raises(UserError, match='unknown rounding'):
        calculate_psnr(first, second, 0, rounding='up')
