import pytest
import torch

from votes.archs import build_network
from votes.archs.parts.blocks import mirrored_at_edges
from votes.archs.tga_arch import ORDER, bicubic


def test_shared_centre_is_the_convolution_of_nine_frames():
    torch.manual_seed(0)
    net = build_network({'type': 'TGA', 'num_feat': 4, 'growth': 2})
    features = torch.rand(2, 7, 4, 6, 8)
    copied = features[:, (0, 3, 6, 2, 3, 4, 1, 3, 5)].transpose(1, 2)
    expected = net.conv3d_2_2(copied).permute(2, 0, 1, 3, 4)
    found = net.grouped(features[:, ORDER].transpose(0, 1).flatten(0, 1))
    torch.testing.assert_close(found.unflatten(0, (3, 2)), expected)


@pytest.mark.parametrize(('scale', 'count'), [(4, 7057853), (2, 7056692), (3, 8531892), (1, 6171572)])
def test_parameters(scale, count):
    with torch.device('meta'):
        net = build_network({'type': 'TGA', 'scale': scale})
    assert sum(p.numel() for p in net.parameters()) == count


def test_base_keeps_planes_and_mirrors_with_the_edge():
    x = torch.arange(12.0).view(1, 1, 3, 4)
    assert mirrored_at_edges(x, 0, 0, 2, 2)[0, 0, 0].tolist() == [1, 0, 0, 1, 2, 3, 3, 2]
    assert mirrored_at_edges(x, 1, 2, 0, 0)[0, 0, :, 0].tolist() == [0, 0, 4, 8, 8, 4]
    ramp = torch.linspace(0, 1, 16).expand(1, 3, 8, 16)
    steps = bicubic(ramp, 4)[..., 12:-12].diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 1 / 60), rtol=0, atol=1e-5)
