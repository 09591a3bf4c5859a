"""A network for each quantiser, and the one that a frame asks for."""

import pytest
import torch

from votes.archs import build_network, infer_options, load_pretrained
from votes.archs.contract import apply
from votes.checkpoint import save
from votes.cli import main
from votes.errors import UserError

PEAKS = {'type': 'MFQEv2Original', 'nf': 4}


def frames(*quantisers, size=(24, 16), unknown=0):
    """A window of three for each quantiser, which is that of the centre; some cells are not known."""
    qp = torch.full((len(quantisers), 3, 1, *size), 51.0)
    qp[:, 1] = torch.tensor(quantisers).view(-1, 1, 1, 1)
    qp[:, 1, :, :unknown] = -1
    return {'lq': torch.rand(len(quantisers), 3, 3, *size), 'qp': qp}


def test_each_frame_is_restored_by_the_network_of_its_quantiser():
    torch.manual_seed(0)
    net = build_network({'type': 'ByQuantiser', 'networks': [PEAKS] * 3, 'quantisers': [37, 22, 27]}).eval()
    sample = frames(36.0, 23.0, 24.0, 30.0, -1.0, 50.0, unknown=5)
    with torch.no_grad():
        out = apply(net, sample)['out']
        each = [apply(part, {'lq': sample['lq']})['out'] for part in net.networks]
    expected = [0, 1, 1, 2, 2, 0]  # of 22, 27 and 37 the middle one where none is known
    assert all(not torch.equal(a, b) for a, b in ((each[0], each[1]), (each[1], each[2])))
    for row, number in enumerate(expected):
        assert torch.allclose(out[row], each[number][row], atol=1e-6)
    options = infer_options(net.state_dict())
    assert (options['type'], options['quantisers']) == ('ByQuantiser', [37, 22, 27])


def test_files_are_joined(tmp_path):
    torch.manual_seed(0)
    parts = [build_network({'type': 'ARCNN', 'mid_channels': [8, 6, 4]}) for _ in range(2)]
    names = [str(tmp_path / f'{i}.pth') for i in range(2)]
    for part, name in zip(parts, names, strict=True):
        save({'params': part.state_dict()}, name)
    target = str(tmp_path / 'both.pth')
    assert main(['checkpoint', 'join', *names, '--qp', '27', '37', '-o', target]) == 0
    net = load_pretrained(target)
    x = torch.rand(1, 1, 3, 16, 16)
    with torch.no_grad():
        for number, qp in enumerate((20.0, 40.0)):
            out = apply(net, {'lq': x, 'qp': torch.full((1, 1, 1, 16, 16), qp)})['out']
            assert torch.equal(out, apply(parts[number].eval(), {'lq': x})['out'])
    qp = torch.tensor([20.0, 40.0, 26.0]).view(3, 1, 1, 1, 1).expand(3, 1, 1, 16, 16)
    sample = {'lq': torch.rand(3, 1, 3, 16, 16), 'qp': qp}
    trained = apply(net.train(), sample)['out']
    assert torch.allclose(trained, apply(net.eval(), sample)['out'], atol=1e-6), 'training chooses alike'
    trained[1].sum().backward()
    assert not any(p.grad.any() for p in net.networks[0].parameters())
    assert all(p.grad.any() for p in net.networks[1].parameters())
    assert main(['checkpoint', 'join', *names, '--qp', '27', '-o', str(tmp_path / 'c.pth')]) == 2
    assert main(['checkpoint', 'join', *names, '--qp', '27', '37', '-o', target]) == 2, 'it exists'
    with pytest.raises(UserError, match='different quantisers'):
        build_network({'type': 'ByQuantiser', 'networks': [PEAKS] * 2, 'quantisers': [27, 27]})
