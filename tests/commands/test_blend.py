import pytest
import torch

from votes import checkpoint
from votes.archs import build_network
from votes.cli import main

NETWORK = {'type': 'VDSR', 'num_feat': 4, 'num_layer': 2, 'upscale': 2}


@pytest.fixture
def two(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nets = []
    for seed, name in enumerate(('a.pth', 'b.pth')):
        torch.manual_seed(seed)
        nets.append(build_network(NETWORK))
        checkpoint.save({'params': nets[-1].state_dict(), 'network_g': NETWORK}, name)
    return nets


def test_weights_between_two(two, capsys):
    assert main(['checkpoint', 'blend', 'a.pth', 'b.pth', '--alpha', '0.25', '-o', 'c.pth']) == 0
    assert '0.75 of a.pth and 0.25 of b.pth' in capsys.readouterr().out
    content = checkpoint.load('c.pth')
    for name, value in two[0].state_dict().items():
        torch.testing.assert_close(content['params'][name], 0.75 * value + 0.25 * two[1].state_dict()[name])
    assert content['network_g'] == NETWORK
    assert main(['checkpoint', 'blend', 'a.pth', 'b.pth', '--alpha', '1', '-o', 'c.pth', '--overwrite']) == 0
    assert all(torch.equal(v, two[1].state_dict()[k]) for k, v in checkpoint.load('c.pth')['params'].items())


def test_what_does_not_blend(two, capsys):
    other = {**NETWORK, 'num_feat': 8}
    checkpoint.save({'params': build_network(other).state_dict(), 'network_g': other}, 'other.pth')
    for arguments, text in (
        (['a.pth', 'other.pth', '--alpha', '0.5', '-o', 'c.pth'], 'different networks'),
        (['a.pth', 'b.pth', '--alpha', '1.5', '-o', 'c.pth'], 'between 0'),
        (['a.pth', 'b.pth', '--alpha', '0.5', '-o', 'b.pth'], 'the output exists'),
        (['a.pth', 'b.pth', '--alpha', '0.5', '-o', 'c.bin'], 'unknown format'),
    ):
        assert main(['checkpoint', 'blend', *arguments]) == 2
        assert text in capsys.readouterr().err
