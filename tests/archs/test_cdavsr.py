import torch

from votes.archs import build_network
from votes.archs.contract import apply
from votes.registry import NETWORKS


def small():
    torch.manual_seed(0)
    return build_network({'type': 'CDAVSR', **NETWORKS.get('CDAVSR').small}).eval()


def clip(types, batch=1):
    count = len(types)
    return {
        'lq': torch.rand(batch, count, 3, 12, 14),
        'mv_past': torch.randint(-3, 4, (batch, count, 2, 12, 14)).float(),
        'past_valid': torch.rand(batch, count, 1, 12, 14) > 0.2,
        'pict_type': torch.tensor([[ord(c) for c in types]] * batch, dtype=torch.uint8),
    }


def test_an_intra_frame_forgets_what_was_before():
    net, sample = small(), clip('IPIP')
    rest = {name: x[:, 2:] for name, x in sample.items()}
    with torch.no_grad():
        out, fresh = apply(net, sample)['out'], apply(net, rest)['out']
        torch.testing.assert_close(out[:, 2:], fresh)
        onward = apply(net, {**sample, 'pict_type': torch.full_like(sample['pict_type'], ord('P'))})['out']
    assert not torch.allclose(onward[:, 2:], fresh)


def test_clips_of_a_batch_have_intra_frames_of_their_own():
    net, sample = small(), clip('IPPP', batch=3)
    sample['pict_type'][1, 2] = ord('I')
    with torch.no_grad():
        together = apply(net, sample)['out']
        alone = [apply(net, {name: x[i : i + 1] for name, x in sample.items()})['out'] for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_the_residual_is_what_motion_does_not_explain():
    """A picture that moves as its vectors say leaves none; the same as a decoder that says so."""
    net = small()
    torch.nn.init.normal_(net.conv_weight_l[4].weight, std=100)
    wide = torch.rand(1, 3, 20, 24)
    sample = clip('IPP')
    sample['lq'] = torch.stack([wide[..., 4 - t : 16 - t, 6 - 2 * t : 20 - 2 * t] for t in range(3)], 1)
    sample['mv_past'] = torch.tensor([-2.0, -1.0]).view(1, 1, 2, 1, 1).expand(1, 3, 2, 12, 14)
    sample['past_valid'] = torch.ones(1, 3, 1, 12, 14, dtype=torch.bool)
    with torch.no_grad():
        out = net(sample['lq'], **net.arguments(sample))
        said = net(sample['lq'], **net.arguments(sample), residuals=torch.zeros(1, 3, 1, 12, 14))
    inner = (0, 1, slice(None), slice(8, -6), slice(10, -6))
    torch.testing.assert_close(out[inner], said[inner], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(out[0, 1], said[0, 1])  # at the edges something new comes into view
