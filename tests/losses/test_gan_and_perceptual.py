"""Losses that need a network: what a discriminator says, and features of VGG."""

import math

import pytest
import torch

from votes import checkpoint
from votes.archs.vgg_arch import VGGFeatureExtractor
from votes.errors import UserError
from votes.losses.gan_loss import GANLoss, MultiScaleGANLoss, RelativisticGANLoss, high_passed
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


def test_relativistic_logits_are_compared_with_the_mean_of_the_others():
    """ESRGAN's model in BasicSR, term by term."""
    loss, plain = RelativisticGANLoss('vanilla', loss_weight=10), GANLoss('vanilla')
    real = torch.tensor([[0.3], [1.2]], requires_grad=True)
    fake = torch.tensor([[-0.4], [0.8]], requires_grad=True)
    terms = loss.of_discriminator(real, fake)
    assert terms['real'].item() == pytest.approx(float(plain(real.detach() - 0.2, True, is_disc=True)) / 2)
    assert terms['fake'].item() == pytest.approx(float(plain(fake.detach() - 0.75, False, is_disc=True)) / 2)
    (only_real,) = torch.autograd.grad(terms['real'], real, retain_graph=True)
    assert torch.autograd.grad(terms['real'], fake, allow_unused=True) == (None,)
    assert only_real.abs().sum() > 0
    judged = loss.of_generator(fake, lambda: real)
    assert judged.item() == pytest.approx(5 * float((plain(real - 0.2, False) + plain(fake - 0.75, True)).detach()))
    assert torch.autograd.grad(judged, real, allow_unused=True, retain_graph=True) == (None,)
    # through the mean, too
    (gradient,) = torch.autograd.grad(judged, fake)
    expected = (torch.sigmoid(fake.detach() - 0.75) - 1) / 4 - torch.sigmoid(real.detach() - 0.2).mean() / 4
    torch.testing.assert_close(gradient, 10 * expected)


def test_a_discriminator_of_high_frequencies_sees_no_flat_area():
    picture = torch.full((1, 3, 9, 9), 0.8)
    assert torch.allclose(high_passed(picture), torch.tensor(0.5))
    picture[..., 4, 4] = 1
    assert GANLoss('vanilla', high_pass=True).shown(picture)[..., 4, 4].min() > 0.55
    assert GANLoss('vanilla').shown(picture) is picture


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


def test_layers_of_vgg_with_batch_normalisation():
    """Normalisation is that of evaluation; torchvision's numbers count it."""
    torch.manual_seed(0)
    vgg = VGGFeatureExtractor(['conv1_2', 'bn1_2', 'relu1_2'], 'vgg13_bn').eval()
    torch.nn.init.normal_(vgg.vgg_net['bn1_2'].running_mean)
    found = vgg(torch.rand(1, 3, 8, 8))
    torch.testing.assert_close(found['bn1_2'], vgg.vgg_net['bn1_2'](found['conv1_2']))
    torch.testing.assert_close(found['relu1_2'], found['bn1_2'].relu())
    weights = vgg.state_dict()
    places = {'conv1_1': 0, 'bn1_1': 1, 'conv1_2': 3, 'bn1_2': 4}
    file = {f'features.{places[key.split(".")[1]]}.{key.split(".")[2]}': value for key, value in weights.items()}
    assert vgg.published_weights({**file, 'features.7.weight': torch.zeros(1)}).keys() == weights.keys()
    with pytest.raises(ValueError, match='no layer bn1_1'):
        VGGFeatureExtractor(['bn1_1'], 'vgg13')
