"""A network made of networks: what each sees, and parts within parts."""

import pytest
import torch

from votes import checkpoint
from votes.archs import build_network
from votes.archs.contract import Clip, Frame, Window, apply
from votes.archs.pipeline_arch import Pipeline
from votes.archs.windows import window_indices
from votes.errors import UserError
from votes.models import build_model
from votes.options import load_options

STDF, BASICVSR = Pipeline.small['first'], Pipeline.small['second']
EDSR = {'type': 'EDSR', 'num_feat': 4, 'num_block': 1, 'upscale': 2}


def test_the_second_network_restores_what_the_first_has_cleaned():
    torch.manual_seed(0)
    net = Pipeline(STDF, BASICVSR).eval()
    x = torch.rand(2, 4, 3, 18, 21)
    with torch.no_grad():
        result = apply(net, {'lq': x})
        windows = [x[:, window_indices(i, 4, 3, 'replicate')] for i in range(4)]
        cleaned = torch.cat([apply(net.first, {'lq': window})['out'] for window in windows], 1)
        restored = apply(net.second, {'lq': cleaned})['out']
    torch.testing.assert_close(result['cleaned'], cleaned)
    torch.testing.assert_close(result['out'], restored)


@pytest.mark.parametrize(
    ('first', 'second', 'sees'),
    [
        (STDF, BASICVSR, Clip(context=9)),
        (STDF, EDSR, Window(3)),
        ({'type': 'ARCNN'}, EDSR, Frame()),
        ({'type': 'ARCNN'}, {**STDF, 'scale': 2}, Window(3)),
        ({'type': 'ARCNN'}, {'type': 'RSDN', 'num_feat': 8, 'num_block': 1}, Clip(least=3)),
    ],
)
def test_how_a_pipeline_sees(first, second, sees):
    net = Pipeline(first, second)
    assert net.sees == sees
    count = getattr(sees, 'frames', getattr(sees, 'least', 1) + 1)
    result = apply(net, {'lq': torch.rand(1, count, 3, 12, 12)})
    left = 1 if isinstance(sees, Window) else count
    assert result['out'].shape[:2] == (1, left)
    assert result['cleaned'].shape == (1, left, 3, 12, 12)


def test_a_first_network_that_enlarges_is_refused():
    with pytest.raises(UserError, match='keeps the size'):
        build_network({'type': 'Pipeline', 'first': EDSR, 'second': BASICVSR})


def test_parts_from_their_own_files_frozen_and_trained(place):
    options = {'type': 'Pipeline', 'first': STDF, 'second': BASICVSR}
    changes = {
        'scale': 4,
        'network_g': options,
        'datasets__train__center_gt': False,
        'train__parts': {
            'first': {'weights': 'first.pth', 'freeze': True},
            'second.flow': {'weights': 'second.pth', 'freeze': 1},
            'propagation': {'lr_mul': 0.5},
        },
    }
    place()
    first, second = build_network(STDF), build_network(BASICVSR)
    for name, net in (('first', first), ('second', second)):
        checkpoint.save({'params': net.state_dict()}, f'{name}.pth')
    model = build_model(load_options(place('EDVRModel', **changes)), torch.device('cpu'))
    for name, value in first.state_dict().items():
        assert torch.equal(value, model.net.first.state_dict()[name])
    for name, value in second.spynet.state_dict().items():
        assert torch.equal(value, model.net.second.spynet.state_dict()[name])
    batch = {'lq': torch.rand(1, 3, 3, 8, 8), 'gt': torch.rand(1, 3, 3, 32, 32)}
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    for iteration in (1, 2):
        outcome = model.step(batch, iteration)
        changed = {name for name, value in model.net.state_dict().items() if not torch.equal(value, before[name])}
        assert set(outcome.terms) == {'l_pix', 'l_clean'}
        assert not any(name.startswith('first.') for name in changed)
        assert any(name.startswith('second.forward_trunk.') for name in changed)
        assert any(name.startswith('second.spynet.') for name in changed) == (iteration == 2)
    assert sorted({group['lr_mul'] for group in model.generator.optimizer.param_groups}) == [0.5, 1]


def test_parts_of_several_modules_come_from_whole_networks(tmp_path):
    torch.manual_seed(0)
    net, other = build_network(BASICVSR), build_network(BASICVSR)
    checkpoint.save({'params': other.state_dict()}, tmp_path / 'whole.pth')
    before = {name: value.clone() for name, value in net.state_dict().items()}
    checkpoint.load_part(net, net.parts['reconstruction'], tmp_path / 'whole.pth')
    for name, value in net.state_dict().items():
        wanted = other.state_dict() if name.startswith(net.parts['reconstruction']) else before
        assert torch.equal(value, wanted[name])
    checkpoint.save({'params': other.fusion.state_dict()}, tmp_path / 'part.pth')
    with pytest.raises(UserError, match='does not hold this part'):
        checkpoint.load_part(net, net.parts['reconstruction'], tmp_path / 'part.pth')
