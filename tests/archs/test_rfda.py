import torch

from votes.archs import build_network, infer_options
from votes.archs.contract import run_causal
from votes.registry import NETWORKS


def small(**more):
    torch.manual_seed(0)
    return build_network({'type': 'RFDA', **NETWORKS.get('RFDA').small, **more}).eval()


def test_steps_see_what_a_clip_shows():
    """The state has the frames before; at both ends of a clip the last frame stands in for those that are not there."""
    net, x = small(radius=2), torch.rand(1, 4, 3, 16, 20)
    torch.nn.init.normal_(net.ffnet.offset_mask.weight, std=0.5)
    with torch.no_grad():
        torch.testing.assert_close(run_causal(net, x), net(x))
        later = x.clone()
        later[:, 3] = 0
        assert torch.equal(net(later)[:, 0], net(x)[:, 0])  # two frames ahead, no more
        assert not torch.equal(net(later)[:, 1], net(x)[:, 1])


def test_its_files_are_not_those_of_stdf():
    for att in (True, False):
        net = small(att=att)
        told = infer_options(net.state_dict())
        assert (told['type'], told['att']) == ('RFDA', att)
        build_network(told).load_state_dict(net.state_dict())
    assert NETWORKS.get('STDF').from_weights(net.state_dict()) is None
