"""FTVSR: the transform and its inverse, what trajectories fetch, and sizes that blocks do not divide."""

import torch

from votes.archs.ftvsr_arch import FTVSR, LTAM
from votes.archs.parts.dct import BlockDCT


def test_transform_and_back():
    net, x = BlockDCT(3), torch.rand(2, 3, 16, 24)
    coefficients = net.coefficients_of(x)
    torch.testing.assert_close(coefficients[:, ::64], torch.nn.functional.avg_pool2d(x, 8) * 8)
    torch.testing.assert_close(net.picture_of(coefficients), x)
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(net.picture_of(net.coefficients_of(x)), x)
    assert not any(p.requires_grad for p in net.parameters())


def test_trajectories_take_the_key_frame_that_is_most_alike():
    """Of two key frames, the second has the frame's features one token to the right, the first has others."""
    torch.manual_seed(0)
    attention = LTAM(2, 4)
    features, state = torch.rand(1, 2, 8, 12), torch.rand(1, 2, 8, 12)
    moved = features.roll(4, 3)
    states = [torch.rand(1, 2, 8, 12) for _ in range(2)]
    keys = torch.stack([attention.tokens(x) for x in (-features, moved)], 1)
    stored = torch.stack([attention.states(x) for x in states], 1)
    here = torch.arange(6).view(2, 3)
    places = torch.stack((here, here.roll(-1, 1))).flatten(1).unsqueeze(0)
    with torch.no_grad():
        out = attention(features, state, keys, stored, places)
        taken = [torch.nn.functional.fold(x, (8, 12), 4, stride=4) for x in attention.states(states[1]).unbind(1)]
        expected = attention.fusion(torch.cat([x.roll(-4, 3) for x in taken], 1)) + state
    torch.testing.assert_close(out, expected)


def test_sizes_that_blocks_do_not_divide():
    torch.manual_seed(0)
    net = FTVSR(**FTVSR.small, public_padding=True)
    picture = torch.rand(1, 3, 12, 16)
    grown = net._grown(picture)
    assert grown.shape == (1, 3, 16, 16)
    assert torch.equal(grown[..., -4:, :], picture[..., -4:, :])
    corner = net._grown(picture[..., :14])
    assert torch.equal(corner[..., -4:, -2:], picture[..., -4:, 12:14])
    assert not corner[..., 12:, :14].any()
    assert not corner[..., :12, 14:].any()
    net.public_padding = False
    assert torch.equal(net._grown(picture)[..., 12:, :], picture[..., 11:12, :].expand(1, 3, 4, 16))


def test_both_ways_to_a_flow_of_blocks():
    """Where all moves alike, the flow of enlarged pictures is that of the frames, four times as long."""
    torch.manual_seed(0)
    net = FTVSR(**FTVSR.small).eval()
    net.spynet.forward = lambda ref, supp: torch.full_like(ref[:, :2], 3.0 if ref.shape[-1] == 32 else 12.0)
    x = torch.rand(1, 3, 3, 32, 32)
    with torch.no_grad():
        reused = net(x)
        net.reuse_flow = False
        torch.testing.assert_close(net(x), reused)
