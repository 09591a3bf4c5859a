import re

import torch

from votes.archs import build_network
from votes.archs.mfqev2_original_arch import REACH, warped
from votes.checkpoint import load_network, save


def test_flow_moves_pixels_and_shows_nothing_beyond_the_picture():
    x = torch.rand(1, 1, 6, 8)
    torch.testing.assert_close(warped(x, torch.zeros(1, 2, 6, 8)), x)
    flow = torch.zeros(1, 2, 6, 8)
    flow[:, 0] = 2 / REACH
    moved = warped(x, flow)
    torch.testing.assert_close(moved[..., :6], x[..., 2:])
    assert not moved[..., 6:].any()
    flow[:, 1] = -0.25 / REACH  # between rows; above the first is outside
    assert not warped(x, flow)[..., 0, :].any()
    torch.testing.assert_close(warped(x, flow)[..., 1:, :6], 0.25 * x[..., :-1, 2:] + 0.75 * x[..., 1:, 2:])


def test_files_of_powerqe(tmp_path):
    torch.manual_seed(0)
    net, other = (build_network({'type': 'MFQEv2', 'nf': 4}) for _ in range(2))
    theirs = {}
    for key, value in net.state_dict().items():
        key = re.sub(r'(\d\.basic_module\.)(\d)\.', lambda found: f'{found[1]}{int(found[2]) // 2}.conv.', key)
        theirs[f'generator.{key}'] = value
    assert 'generator.spynet.basic_module.0.basic_module.4.conv.bias' in theirs
    save({'meta': {}, 'state_dict': theirs}, tmp_path / 'powerqe.pth')
    assert not load_network(other, tmp_path / 'powerqe.pth')
    x = torch.rand(1, 3, 3, 12, 20)
    with torch.no_grad():
        assert torch.equal(net.eval()(x), other.eval()(x))


def test_motion_and_enhancement_learn_from_losses_of_their_own():
    torch.manual_seed(0)
    net = build_network({'type': 'MFQEv2Original', 'nf': 4})
    x = torch.rand(2, 3, 1, 8, 12)
    net(x)['warped'].sum().backward()
    learning = {name.split('.')[0] for name, p in net.named_parameters() if p.grad is not None}
    assert learning == {'motion'}
    assert net(x)['out'].shape == (2, 1, 8, 12)
