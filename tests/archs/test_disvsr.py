"""Flow by dense inverse search, and the network that is aligned by it."""

import pytest
import torch
import torch.nn.functional as F

from votes.archs import build_network, infer_options
from votes.archs.parts.blocks import enlarged
from votes.ops.dis_flow import SMALLEST, dis_flow


@pytest.fixture(scope='module')
def picture():
    torch.manual_seed(0)
    return F.interpolate(torch.rand(1, 3, 20, 28), (160, 224), mode='bicubic', align_corners=False).clamp(0, 1)


@pytest.mark.parametrize('shift', [(3, -2), (-6, 4), (0, 1)])
def test_a_shifted_picture(picture, shift):
    """What is at p in the frame is at p + shift in the other; the middle, where nothing came in from outside."""
    across, down = shift
    frame = picture[..., 40:120, 40:168]
    other = picture[..., 40 - down : 120 - down, 40 - across : 168 - across]
    found = dis_flow(torch.cat((frame, frame)), torch.cat((other, frame)))
    assert found.shape == (2, 2, 80, 128)
    inner = found[0, :, 16:-16, 16:-16]
    for axis, wanted in enumerate(shift):
        assert inner[axis].median() == pytest.approx(wanted, abs=0.5)
    assert found[1].abs().max() < 0.1


def test_the_smallest_frames():
    frame = torch.rand(1, 3, SMALLEST, SMALLEST)
    assert torch.isfinite(dis_flow(frame, frame.flip(-1))).all()


@pytest.mark.parametrize('scale', [1, 2])
def test_training_starts_at_the_enlarged_frame_and_uses_time(picture, scale):
    options = {'type': 'DISVSR', 'scale': scale, 'num_feat': 8, 'num_block': 1, 'num_out': 4}
    net = build_network(options).eval()
    clip = torch.stack([picture[..., 4 * t : 4 * t + 32, :48] for t in range(3)], 1)
    whole = enlarged(clip.flatten(0, 1), (32 * scale, 48 * scale)) if scale > 1 else clip.flatten(0, 1)
    with torch.no_grad():
        assert torch.allclose(net(clip).flatten(0, 1), whole)
        torch.nn.init.normal_(net.last.weight, 0, 0.1)
        first = net(clip)
        other = clip.clone()
        other[:, 0] = 0
        assert not torch.allclose(net(other)[:, 2], first[:, 2]), 'the state reaches over frames'
        stepwise = net.train()(clip)
    assert torch.allclose(stepwise, first, atol=1e-5), 'all at once in training is what steps give'
    assert infer_options(net.state_dict()) == options
