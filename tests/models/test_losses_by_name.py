"""Losses that look at more than an output and its target, in a step; gradients clipped by the norm of weights."""

import pytest
import torch

from votes.losses.pixel_loss import L1Loss
from votes.models import build_model
from votes.models.clipping import clip_adaptively
from votes.models.terms import Term
from votes.options import OptionError, load_options


def built(place, **changes):
    torch.manual_seed(0)
    return build_model(load_options(place('EDVRModel', train__scheduler=None, **changes)), torch.device('cpu'))


def batch():
    generator = torch.Generator().manual_seed(1)
    return {'lq': torch.rand(2, 5, 3, 8, 8, generator=generator), 'gt': torch.rand(2, 3, 16, 16, generator=generator)}


def test_offsets_and_the_average_are_there_for_losses(place):
    model = built(
        place,
        train__losses={
            'l_tv': {'type': 'OffsetTVLoss', 'loss_weight': 1.0, 'until_iter': 4},
            'l_together': {'type': 'OffsetDeviationLoss', 'loss_weight': 1.0},
            'l_artefacts': {'type': 'LDLLoss'},
        },
        train__ema_decay=0.9,
    )
    for name, parameter in model.net.named_parameters():
        if 'conv_offset' in name:
            torch.nn.init.normal_(parameter, 0, 0.1)
    torch.nn.init.constant_(model.net.conv_last.bias, 9.0)  # averaged weights are better everywhere
    found = [model.step(batch(), iteration).terms for iteration in (1, 2, 5)]
    assert all(found[0][name] > 0 for name in ('l_tv', 'l_together', 'l_artefacts'))
    assert found[1]['l_tv'] < found[0]['l_tv']
    assert 'l_tv' not in found[2]
    assert 'l_together' in found[2]
    gradients = model.net.pcd_align.cas_dcnpack.conv_offset.weight.grad
    assert gradients is not None
    with pytest.raises(OptionError, match=r'train\.ema_decay'):
        load_options(place('EDVRModel', train__losses={'l_artefacts': {'type': 'LDLLoss'}}))


def test_a_weight_falls_linearly():
    term = Term('l', L1Loss(), from_iter=2, until_iter=6, weight=8.0)
    assert [term.factor(i) for i in range(1, 9)] == [0, 0, 8, 6, 4, 2, 0, 0]
    assert Term('l', L1Loss(), from_iter=1).factor(2) == 1


def test_models_of_esrgan_compare_with_the_mean(place):
    changes = {
        'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4},
        'train__optim_d': {'type': 'Adam', 'lr': 1e-3},
        'train__gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.05},
    }
    path = place('EDVRModel', **changes)
    assert load_options(path).train.gan_opt.type == 'GANLoss'
    opt = load_options(path, overrides=['model_type=ESRGANModel'])
    assert opt.train.gan_opt.type == 'RelativisticGANLoss'
    model = build_model(opt, torch.device('cpu'))
    terms = model.step(batch(), 1).terms
    assert set(terms) == {'l_pix', 'l_gan', 'l_gan_d_real', 'l_gan_d_fake'}


def test_gradients_are_clipped_by_the_norm_of_their_weights():
    weight = torch.tensor([[3.0, 4.0], [0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    weight.grad = torch.tensor([[30.0, 40.0], [3.0, 4.0], [0.003, 0.004]])
    bias = torch.tensor([3.0, 4.0], requires_grad=True)
    bias.grad = torch.tensor([6.0, 8.0])
    clip_adaptively([weight, bias, torch.zeros(1, requires_grad=True)], 0.01)
    norms = torch.linalg.vector_norm(weight.grad, dim=1)
    torch.testing.assert_close(norms, torch.tensor([0.05, 1e-5, 0.005]))
    torch.testing.assert_close(weight.grad[0], torch.tensor([0.03, 0.04]))
    assert torch.linalg.vector_norm(bias.grad) == pytest.approx(0.05)


def test_a_step_with_clipping(place):
    model = built(place, train__adaptive_clip=1e-3)
    model.step(batch(), 1)
    for parameter in model.generator.named.values():
        assert torch.linalg.vector_norm(parameter.grad) <= 1.01e-3 * torch.linalg.vector_norm(parameter) + 1e-5
    with pytest.raises(OptionError, match='one of the two'):
        load_options(place('EDVRModel', train__adaptive_clip=0.01, train__grad_clip=1.0))


@pytest.mark.parametrize(('later', 'message'), [(5, None), (6, 'after iteration 5'), (None, 'after iteration 5')])
def test_something_is_compared_in_every_iteration(place, later, message):
    """A step without a term has nothing to go backwards from."""
    losses = {'l_first': {'type': 'L1Loss', 'until_iter': 5}}
    losses |= {'l_then': {'type': 'L1Loss', 'from_iter': later}} if later else {}
    file = place('EDVRModel', train__pixel_opt=None, train__losses=losses, train__total_iter=8, train__scheduler=None)
    if message is None:
        model = build_model(load_options(file), torch.device('cpu'))
        assert [set(model.step(batch(), iteration).terms) for iteration in (5, 6)] == [{'l_first'}, {'l_then'}]
        return
    with pytest.raises(OptionError, match=f'nothing is compared {message}'):
        load_options(file)
