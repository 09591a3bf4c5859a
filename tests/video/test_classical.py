"""Blur, noise, JPEG and resizing against values worked out by hand."""

import math

import numpy as np
import pytest
import torch

from votes.errors import UserError
from votes.video.blur import bivariate_kernel, blur_and_pick, filter2d, gaussian_taps, sharpened, sinc_kernel
from votes.video.jpeg import jpeg
from votes.video.noise import gaussian_noise, poisson_noise
from votes.video.resize import imresize


def test_kernels():
    """Ratios of neighbours tell the formulas; sums are 1."""
    middle = (3, 3)
    gaussian = bivariate_kernel(7, (2.0, 1.0))
    assert gaussian.sum() == pytest.approx(1)
    assert gaussian[3, 4] / gaussian[middle] == pytest.approx(math.exp(-1 / 8)), 'x is to the right'
    assert gaussian[4, 3] / gaussian[middle] == pytest.approx(math.exp(-1 / 2))
    turned = bivariate_kernel(7, (2.0, 1.0), math.pi / 2)
    assert np.allclose(turned, gaussian.T)
    q = 1 / 4
    for shape, value in (('generalized', math.exp(-(q**3) / 2)), ('plateau', 1 / (1 + q**3))):
        kernel = bivariate_kernel(7, (2.0, 2.0), shape=shape, beta=3)
        assert kernel[3, 4] / kernel[middle] == pytest.approx(value)
    ringing = sinc_kernel(math.pi / 2, 7)
    assert ringing.sum() == pytest.approx(1)
    # c J1(c) / 2 pi against c^2 / 4 pi: J1(pi/2) = 0.56682
    assert ringing[3, 4] / ringing[3, 3] == pytest.approx(2 * 0.56682 / (math.pi / 2), abs=1e-4)
    with pytest.raises(UserError, match='no such shape'):
        bivariate_kernel(7, (1, 1), shape='box')


def test_filtering_mirrors_and_does_not_flip():
    x = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    right = torch.tensor([[0.0, 0, 0], [0, 0, 1], [0, 0, 0]])
    assert filter2d(x, right)[0, 0, 0].tolist() == [1, 2, 3, 2]
    two = filter2d(x.repeat(2, 1, 1, 1), torch.stack([right, right.T]))
    assert two[1, 0, 0].tolist() == [0, 1, 2, 3], 'each picture its kernel'


def test_bd_takes_pixels_at_the_origin():
    """An impulse on GT pixel S*j comes out strongest, and alike to both sides, at LQ pixel j."""
    x = torch.zeros(1, 1, 48, 48)
    x[..., 24, 16] = 1
    small = blur_and_pick(x, 4, 1.6)[0, 0]
    assert small.shape == (12, 12)
    assert divmod(int(small.argmax()), 12) == (6, 4)
    assert small[6, 3] == small[6, 5]
    line = gaussian_taps(1.6, 13)[6]
    assert small[6, 5] / small[6, 4] == pytest.approx(line[2] / line[6])
    assert np.count_nonzero(gaussian_taps(0.8, 13)[6]) == 7, 'the Gaussian of x2 ends after 3 pixels'
    ramp = torch.arange(48.0).expand(1, 1, 48, 48)
    assert torch.allclose(blur_and_pick(ramp, 4, 1.6)[0, 0, 0, 2:-2], torch.arange(8.0, 40, 4))
    with pytest.raises(UserError, match='too small'):
        blur_and_pick(torch.zeros(1, 6, 6), 2, 0.8)


def test_bi_takes_pixels_at_centres():
    ramp = torch.arange(48.0).expand(1, 3, 48, 48)
    small = imresize(ramp, 1 / 4)
    assert small.shape == (1, 3, 12, 12)
    assert torch.allclose(small[0, 0, 0, 2:-2], torch.arange(9.5, 41, 4)), 'LQ pixel j lies at 4 j + 1.5'
    assert torch.allclose(imresize(torch.full((1, 5, 7), 0.3), 1.5), torch.tensor(0.3))
    assert imresize(ramp, 1 / 3).shape[-1] == 16
    # a = -0.5 at a quarter and three quarters of a pixel
    x = torch.tensor([0.0, 0, 0, 1, 0, 0, 0, 0]).expand(1, 8, 8)
    assert torch.allclose(imresize(x, 2)[0, 0, 6:8], torch.tensor([0.8671875, 0.8671875]))


class Given:
    """Draws that are told: a normal number of 1 everywhere, counts rounded down."""

    def standard_normal(self, size):
        return np.ones(size)

    def poisson(self, lam):
        return np.floor(lam)


def test_noise():
    x = torch.full((2, 3, 4, 4), 0.5)
    noise = gaussian_noise(x, [25.5, 51], [0, 1], Given())
    assert torch.allclose(noise[:, 0, 0, 0], torch.tensor([0.1, 0.2]))
    drawn = gaussian_noise(x, 25.5, [0, 1], np.random.default_rng(0))
    assert torch.equal(drawn[1, 0], drawn[1, 2])
    assert not torch.equal(drawn[0, 0], drawn[0, 2])
    # one value in the picture: white is one photon; 128/255 of one is none, and the noise is what is lost
    assert torch.allclose(poisson_noise(x, 2, 0, Given()), torch.tensor(-2 * 128 / 255))


def test_jpeg():
    flat = torch.full((1, 3, 20, 24), 128 / 255)
    assert torch.allclose(jpeg(flat, 50)[..., :16, :16], flat[..., :16, :16], atol=1e-6), 'mid grey is kept'
    # a grey of 128 + 20 has a DC coefficient of 160, which the step of 16 keeps, and 128 + 21 one of 168 = 10.5 steps
    assert jpeg(torch.full((1, 3, 16, 16), 148 / 255), 50)[0, 0, 0, 0] * 255 == pytest.approx(148, abs=1e-3)
    assert jpeg(torch.full((1, 3, 16, 16), 149 / 255), 50)[0, 0, 0, 0] * 255 == pytest.approx(148, abs=1e-3)
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    apart = torch.cat([jpeg(x[:1], 20), jpeg(x[1:], 90)])
    quality = torch.tensor([20.0, 90.0])
    assert torch.equal(jpeg(x, quality), apart)
    assert quality.tolist() == [20, 90], 'what is handed over is kept'


def test_sharpening_leaves_flat_places():
    x = torch.full((1, 3, 40, 40), 0.4)
    x[..., 20:] = 0.6
    y = sharpened(x, radius=9, sigma=1.5)
    assert torch.equal(y[..., :8], x[..., :8])
    assert y[..., 20].mean() > 0.61
    assert y[..., 19].mean() < 0.39
