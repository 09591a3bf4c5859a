import pytest
import torch

from votes.archs import build_network
from votes.registry import NETWORKS


@pytest.mark.parametrize('quirk', [False, True])
def test_neighbours_are_warped_to_each_other_where_the_quirk_is_off(quirk, monkeypatch):
    """A picture that moves 2 to the right and 1 down each frame, with flows that say so."""
    net = build_network({'type': 'TSAN', **NETWORKS.get('TSAN').small, 'backward_warp_quirk': quirk}).eval()
    wide = torch.rand(1, 3, 24, 24)
    x = torch.stack([wide[..., 4 - t : 20 - t, 6 - 2 * t : 22 - 2 * t] for t in range(3)], 1)
    there = torch.tensor([2.0, 1.0]).view(1, 1, 2, 1, 1).expand(1, 2, 2, 16, 16)
    monkeypatch.setattr(net.tdam, '_flows', lambda x: (there, -there))
    seen = []
    net.tdam.conv_offset_extra.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        net(x)
    ahead, _, behind, _, centre = seen[0].unflatten(1, (7, 3)).split((2, 1, 2, 1, 1), 1)
    inner = (..., slice(2, -2), slice(4, -4))
    torch.testing.assert_close(ahead[inner], x[:, 1:].flip(1)[inner])
    assert torch.allclose(behind[inner], x[:, :-1][inner], atol=1e-5) is not quirk
    assert torch.equal(centre, x[:, 1, None])
