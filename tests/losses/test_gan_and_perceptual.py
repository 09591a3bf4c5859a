"""Losses that need a network: what a discriminator says, and features of VGG."""

import math

import pytest
import torch

from votes import checkpoint
from votes.archs.vgg_arch import VGGFeatureExtractor
from votes.errors import UserError
from votes.losses.gan_loss import GANLoss, MultiScaleGANLoss
from votes.losses.perceptual_loss import PerceptualLoss, gram

LOGITS = torch.tensor([[0.0], [2.0]])


@pytest.mark.parametrize(
    ('gan_type', 'real', 'fake', 'judged'),
    [
        ('vanilla', (math.log(2) + math.log1p(math.exp(-2))) / 2, (math.log(2) + math.log1p(math.exp(2))) / 2, None),
        ('lsgan', (1 + 1) / 2, (0 + 4) / 2, None),
        ('wgan', -1.0, 1.0, None),
        (
            'wgan_softplus',
            (math.log(2) + math.log1p(math.exp(-2))) / 2,
            (math.log(2) + math.log1p(math.exp(2))) / 2,
            None,
        ),
        ('hinge', (1 + 0) / 2, (1 + 3) / 2, -1.0),
    ],
)
def test_gan_types_by_hand(gan_type, real, fake, judged):
    loss = GANLoss(gan_type, loss_weight=10)
    assert loss(LOGITS, True, is_disc=True) == pytest.approx(real)
    assert loss(LOGITS, False, is_disc=True) == pytest.approx(fake)
    assert loss(LOGITS, True) == pytest.approx(10 * (real if judged is None else judged))


def test_several_scales():
    loss = MultiScaleGANLoss('wgan')
    assert loss([LOGITS, [LOGITS + 100, LOGITS + 2]], False) == pytest.approx((1 + 3) / 2)


@pytest.fixture
def vgg_file(tmp_path):
    """A VGG of its first layers, in the form of torchvision's file."""
    torch.manual_seed(0)
    weights = VGGFeatureExtractor(['conv2_1']).state_dict()
    places = {'conv1_1': 0, 'conv1_2': 2, 'conv2_1': 5}
    content = {f'features.{places[key.split(".")[1]]}.{key.split(".")[2]}': value for key, value in weights.items()}
    checkpoint.save({**content, 'classifier.0.weight': torch.zeros(1)}, tmp_path / 'vgg.pth')
    return str(tmp_path / 'vgg.pth')


def test_perceptual_and_style(vgg_file):
    loss = PerceptualLoss({'conv1_2': 1.0, 'relu2_1': 0.5}, style_weight=2.0, vgg_weights=vgg_file)
    x, gt = torch.rand(2, 1, 3, 16, 12)
    x.requires_grad_()
    perceptual, style = loss(x, gt)
    ours, theirs = loss.vgg(x), loss.vgg(gt)
    expected = sum(w * (ours[name] - theirs[name]).abs().mean() for name, w in loss.layer_weights.items())
    torch.testing.assert_close(perceptual, expected)
    grams = [(gram(ours[name]) - gram(theirs[name])).abs().mean() for name in ('conv1_2', 'relu2_1')]
    torch.testing.assert_close(style, 2 * (grams[0] + 0.5 * grams[1]))
    (perceptual + style).backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in loss.parameters())
    assert loss(gt, gt)[0] == 0
    assert PerceptualLoss({'conv1_2': 1.0}, vgg_weights=vgg_file)(x, gt)[1] is None


def test_weights_that_are_not_there_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match='vgg_weights') as caught:
        PerceptualLoss({'conv5_4': 1.0})
    assert 'vgg19-dcbb9e9d.pth' in str(caught.value)
