import pytest
import torch

from votes.archs import build_network, infer_options
from votes.archs.contract import Causal, Clip, Frame, Window, apply, promise, step
from votes.archs.parts.blocks import conv_of_pair
from votes.archs.parts.dfm import degradation_feature_map
from votes.errors import UserError
from votes.registry import NETWORKS


def small(name, **more):
    torch.manual_seed(0)
    return build_network({'type': name, **NETWORKS.get(name).small, **more})


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
            out = apply(net, {'lq': torch.rand(1, 5, 3, *size)})['out']
            assert out.shape == (1, 1, 3, 2 * size[0], 2 * size[1])
        x = torch.rand(1, 5, 3, 8, 12)
        assert torch.equal(apply(net, {'lq': x})['out'][:, 0], net(x))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(type='VOTEZ'), 'VOTES'),
        (dict(type='VOTES', num_feats=3), 'num_feats'),
        (dict(type='VOTES', sr_factor=5), '5'),
        (dict(type='VOTES', num_feat=12), 'deformable_groups'),
        (dict(type='VOTES', num_frame=7), 'windows of 5'),
        (dict(type='VOTES', dfm_norm='frame'), 'dfm_norm'),
        (dict(type='EDVR', hr_in=True), 'hr_in needs with_predeblur'),
        (dict(type='EDVR', hr_in=True, with_predeblur=True, scale=3), 'scale of 2 or 4'),
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


class Breaks(torch.nn.Module):
    """Does not keep what it promises, in a way that a test chooses."""

    def __init__(self, sees, returned=lambda x: x, **said):
        super().__init__()
        self.sees, self.returned = sees, returned
        for name, value in said.items():
            setattr(self, name, value)

    def forward(self, x, **fields):
        return self.returned(x)

    def step(self, x, state, **fields):
        return self.returned(x[:, 0]), state


@pytest.mark.parametrize(
    ('net', 'count', 'message'),
    [
        (Breaks(Frame(), scale=2), 1, r'output is not \(1, 1, 3, 16, 16\)'),
        (Breaks(Frame(), lambda x: {'cleaned': x}), 1, "under 'out'"),
        (Breaks(Window(5), lambda x: x[:, 0]), 3, 'windows of 5 frames'),
        (Breaks(Clip(least=5)), 3, 'at least 5 frames'),
        (Breaks(Causal(least=2), lambda x: x), 1, 'at least 2 frames'),
        (Breaks(Frame(), inputs=('qp',)), 1, 'reads qp, which the sample does not have'),
    ],
)
def test_broken_promises_are_named(net, count, message):
    with pytest.raises(UserError, match=message) as caught:
        apply(net, {'lq': torch.rand(1, count, 3, 8, 8)})
    assert 'promises' in str(caught.value)


@pytest.mark.parametrize(
    ('said', 'message'),
    [
        ({'scale': torch.nn.Parameter(torch.ones(1))}, 'Breaks.scale'),
        ({'multiple': 0}, 'Breaks.multiple'),
        ({'inputs': 'qp'}, 'Breaks.inputs'),
        ({'parts': {'body': 'body.'}}, 'Breaks.parts'),
        ({'channels': 'y'}, 'Breaks.channels'),
    ],
)
def test_an_attribute_that_means_something_else_is_named(said, message):
    """A parameter called scale would count as a number, and a string as the names of its letters."""
    with pytest.raises(UserError, match=message):
        promise(Breaks(Frame(), **said))


def test_a_network_of_luma_may_enlarge():
    net = Breaks(Frame(), lambda x: x.repeat_interleave(2, -1).repeat_interleave(2, -2), scale=2, channels='luma')
    grey = torch.rand(1, 2, 1, 9, 7).expand(-1, -1, 3, -1, -1)
    out = apply(net, {'lq': grey})['out']
    torch.testing.assert_close(out, grey.repeat_interleave(2, -1).repeat_interleave(2, -2), atol=1e-5, rtol=0)
    red = torch.zeros(1, 1, 3, 8, 8)
    red[:, :, 0] = 0.7
    torch.testing.assert_close(apply(net, {'lq': red})['out'], red[..., :1, :1].expand(-1, -1, -1, 16, 16))


def test_what_a_class_says_is_checked():
    with pytest.raises(UserError, match='how it sees a video'):
        promise(torch.nn.Conv2d(3, 3, 1))
    with pytest.raises(UserError, match='fields that there are not'):
        promise(Breaks(Frame(), inputs=('depth',)))
    with pytest.raises(ValueError, match='no frame 7'):
        Window(5, 7)


def test_an_undeclared_output_of_a_step_is_named():
    with pytest.raises(UserError, match='output is not'):
        step(Breaks(Causal(), scale=2), {'lq': torch.rand(1, 1, 3, 8, 8)}, None)
