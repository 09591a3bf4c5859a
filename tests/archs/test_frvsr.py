import torch

from votes.archs import build_network
from votes.archs.parts.frame_recurrent import FirstPixelUpsample, cubic_kernels, linear_kernels, space_to_depth


def test_training_finds_all_flows_at_once_and_gives_what_steps_give():
    torch.manual_seed(0)
    net = build_network({'type': 'FRVSR', 'scale': 2, 'num_feat': 4, 'num_block': 1, 'degradation': 'BI'})
    x = torch.rand(2, 3, 3, 19, 26)
    together, stepwise = net.train()(x), net.eval()(x)
    for name in ('out', 'warped'):
        torch.testing.assert_close(together[name], stepwise[name], rtol=1e-4, atol=1e-5)
    assert torch.equal(stepwise['warped'][:, 0], x[:, 0])  # the loss on warped frames has nothing to say there


def test_grid_of_the_first_pixel():
    ramp = torch.arange(6.0).expand(1, 2, 5, 6)
    for kernels in (cubic_kernels(4), linear_kernels(4)):
        large = FirstPixelUpsample(kernels)(ramp)
        assert large.shape == (1, 2, 20, 24)
        torch.testing.assert_close(large[..., ::4, ::4], ramp)
    torch.testing.assert_close(large[0, 0, 0, :21], torch.arange(21) / 4)
    assert large[0, 0, 0, 21:].tolist() == [5, 5, 5]
    expected = torch.tensor([-0.10546875, 0.87890625, 0.26171875, -0.03515625])
    torch.testing.assert_close(cubic_kernels(4)[1], expected)


def test_depth_holds_row_then_column_then_channel():
    x = torch.arange(12.0).view(1, 3, 2, 2)
    assert space_to_depth(x, 2).flatten().tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


def test_parameters_and_kernels_of_published_files():
    for arguments, count in (({}, 2589093), ({'scale': 2}, 2531429), ({'num_block': 16}, 3032229)):
        net = build_network({'type': 'FRVSR', **arguments})
        assert sum(p.numel() for p in net.parameters()) == count
        assert {'upsample_func.kernels', 'srnet.upsample_func.kernels'} <= net.state_dict().keys()
    assert not any('kernels' in key for key in build_network({'type': 'FRVSR', 'degradation': 'BI'}).state_dict())
