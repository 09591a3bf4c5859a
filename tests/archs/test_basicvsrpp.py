"""BasicVSR++: long clips, and where alignment looks."""

import torch

from votes.archs.basicvsrpp_arch import BasicVSRPlusPlus, SecondOrderDeformableAlignment


def test_long_clips_give_the_same():
    torch.manual_seed(0)
    net = BasicVSRPlusPlus(**BasicVSRPlusPlus.small).eval()
    x = torch.rand(1, 4, 3, 20, 24)
    with torch.no_grad():
        whole = net(x)
        net.cache_length = 3
        assert torch.equal(net(x), whole)
        assert net(x[:, :1]).shape == (1, 1, 3, 40, 48)


def test_alignment_follows_both_flows():
    """Without residues, each frame's features are taken from where its own flow points."""
    align = SecondOrderDeformableAlignment(8, 10)
    with torch.no_grad():
        align.weight.zero_()
        align.weight[0, 3, 1, 1] = align.weight[1, 8 + 5, 1, 1] = 2  # masks start at a half
        x = torch.rand(1, 16, 6, 7)
        flows = [torch.tensor(f, dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, 6, 7) for f in ((1, 0), (0, -2))]
        out = align(x, torch.rand(1, 24, 6, 7), *flows)
    torch.testing.assert_close(out[0, 0, :, :-1], x[0, 3, :, 1:])
    torch.testing.assert_close(out[0, 1, 2:], x[0, 13, :-2])
