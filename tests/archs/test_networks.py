import pytest
import torch

from votes.archs import build_network, infer_options
from votes.archs.parts.blocks import conv_of_pair
from votes.archs.parts.dfm import degradation_feature_map
from votes.archs.parts.padding import forward_padded
from votes.errors import UserError
from votes.registry import NETWORKS

SMALL = {
    'VOTES': dict(
        num_feat=8,
        num_extract_block=1,
        num_reconstruct_block=1,
        num_modulation_blocks=1,
        deformable_groups=4,
        dsm_num_feat=8,
        dsm_num_block=2,
        dsm_num_layer=2,
        dsm_num_grow_ch=4,
    ),
    'EDVR': dict(num_feat=8, num_extract_block=1, num_reconstruct_block=1, deformable_groups=4, scale=2),
    'BIN': dict(num_feat=8, num_block=2, num_layer=2, num_grow_ch=4),
}


def small(name, **more):
    torch.manual_seed(0)
    return build_network({'type': name, **SMALL.get(name, {}), **more})


@pytest.mark.parametrize('name', NETWORKS.names())
def test_registered_network(name):
    """Output size, gradients everywhere they should be, and the architecture told from the weights."""
    net = small(name)
    x = torch.rand(2, net.num_frame, 3, 16, 12)
    out = net(x)
    picture = out if isinstance(out, torch.Tensor) else out[2]
    assert picture.shape == (2, 3, 16 * net.scale, 12 * net.scale)
    sum(o.sum() for o in (out if isinstance(out, tuple) else (out,))).backward()
    without = [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
    rebuilt = build_network(infer_options(net.state_dict()))
    rebuilt.load_state_dict(net.state_dict())
    with torch.no_grad():
        again = rebuilt.eval()(x)
    torch.testing.assert_close(again if isinstance(again, torch.Tensor) else again[2], picture)


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize(('name', 'key'), [('VOTES', 'sr_factor'), ('EDVR', 'scale')])
def test_scales(name, key, scale):
    net = small(name, **{key: scale})
    assert net(torch.rand(1, 5, 3, 8, 8)).shape == (1, 3, 8 * scale, 8 * scale)
    assert infer_options(net.state_dict())[key] == scale


def test_edvr_without_tsa():
    net = small('EDVR', with_tsa=False)
    assert net(torch.rand(1, 5, 3, 8, 8)).shape == (1, 3, 16, 16)
    assert infer_options(net.state_dict())['with_tsa'] is False


@pytest.mark.parametrize(
    ('options', 'millions'), [(dict(), 8.111), (dict(num_feat=128), 24.201), (dict(num_feat=128, sr_factor=4), 24.791)]
)
def test_sizes_of_the_paper_and_the_release(options, millions):
    with torch.device('meta'):
        net = build_network({'type': 'VOTES', **options})
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 3) == millions
    assert len(net.state_dict()) == (428 if options.get('sr_factor') == 4 else 426)


def test_dsm_is_frozen_and_dfm_steers():
    net = small('VOTES')
    assert not any(p.requires_grad for p in net.bin.parameters())
    x = torch.rand(1, 5, 3, 8, 8)
    without = small('VOTES', dfm=False)
    assert not without.degradation_map(x).any()
    assert net.degradation_map(x).max() == 1
    assert not torch.equal(net(x), without(x))


def test_one_batch_is_its_samples():
    net = small('VOTES').eval()
    x = torch.rand(3, 5, 3, 12, 8)
    with torch.no_grad():
        torch.testing.assert_close(net(x), torch.cat([net(x[i : i + 1]) for i in range(3)]), rtol=1e-4, atol=1e-5)


def test_convolution_of_a_pair_is_that_of_the_concatenation():
    conv = torch.nn.Conv2d(6, 4, 3, 1, 1)
    frames, centre = torch.rand(10, 3, 8, 8), torch.rand(2, 3, 8, 8)
    expected = conv(torch.cat((frames, centre.repeat_interleave(5, 0)), 1))
    torch.testing.assert_close(conv_of_pair(conv, frames, centre), expected)


class TestDegradationFeatureMap:
    def test_by_hand(self):
        frame = torch.zeros(1, 3, 1, 4)
        estimate = torch.tensor([0.0, 1.0, 3.0, 7.0]).view(1, 1, 1, 4).expand(1, 3, 1, 4) / 255
        found = degradation_feature_map(estimate, frame).flatten()
        torch.testing.assert_close(found, torch.tensor([0, 85, 170, 255]) / 255)  # log2(d + 1) = 0, 1, 2, 3

    def test_no_difference_is_a_zero_map(self):
        frame = torch.rand(2, 3, 4, 4)
        assert not degradation_feature_map(frame, frame).any()
        assert not degradation_feature_map(frame, frame, 'batch').any()

    def test_norms(self):
        frame = torch.zeros(2, 3, 2, 2)
        estimate = torch.stack((torch.full((3, 2, 2), 3 / 255), torch.full((3, 2, 2), 15 / 255)))
        assert degradation_feature_map(estimate, frame).amin() == 1
        batch = degradation_feature_map(estimate, frame, 'batch')
        assert batch[1].min() == 1
        torch.testing.assert_close(batch[0], torch.full((1, 2, 2), 128 / 255))  # round(255 * 2 / 4) to even

    def test_under_autocast(self):
        frame, estimate = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
        with torch.autocast('cpu', torch.bfloat16):
            assert torch.equal(
                degradation_feature_map(estimate, frame), degradation_feature_map(estimate, frame).float()
            )
            inside = degradation_feature_map(estimate, frame)
        assert torch.equal(inside, degradation_feature_map(estimate, frame))


def test_any_size_through_padding():
    net = small('VOTES').eval()
    with torch.no_grad():
        for size in ((8, 8), (9, 14), (3, 5)):
            assert forward_padded(net, torch.rand(1, 5, 3, *size)).shape == (1, 3, 2 * size[0], 2 * size[1])
        x = torch.rand(1, 5, 3, 8, 12)
        assert torch.equal(forward_padded(net, x), net(x))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(type='VOTEZ'), 'VOTES'),
        (dict(type='VOTES', num_feats=3), 'num_feats'),
        (dict(type='VOTES', sr_factor=5), '5'),
        (dict(type='VOTES', num_feat=12), 'deformable_groups'),
        (dict(type='VOTES', num_frame=7), 'windows of 5'),
        (dict(type='VOTES', dfm_norm='frame'), 'dfm_norm'),
        (dict(type='EDVR', hr_in=True), 'hr_in'),
        (dict(type='EDVR', num_frame=4), 'odd'),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        build_network(options)


def test_wrong_windows_are_named():
    net = small('VOTES')
    with pytest.raises(UserError, match='multiples of 4'):
        net(torch.rand(1, 5, 3, 10, 8))
    with pytest.raises(UserError, match='window'):
        net(torch.rand(1, 3, 3, 8, 8))
