import pytest
import torch

from votes.archs import build_network, infer_options
from votes.archs.cavsr_arch import _doubt, type_numbers
from votes.registry import NETWORKS


def small(**more):
    torch.manual_seed(0)
    return build_network({'type': 'CAVSR', **NETWORKS.get('CAVSR').small, **more})


def panning(frames=3):
    """A picture that moves 3 to the right and 2 down each frame, all of it predicted from the frames beside it."""
    wide = torch.rand(1, 3, 40, 40)
    lq = torch.stack([wide[..., 10 - 2 * t : 26 - 2 * t, 12 - 3 * t : 28 - 3 * t] for t in range(frames)], 1)
    past = torch.tensor([-3.0, -2.0]).view(1, 1, 2, 1, 1).expand(1, frames, 2, 16, 16)
    valid = torch.ones(1, frames, 1, 16, 16, dtype=torch.bool)
    types = torch.tensor([[ord(c) for c in 'IPBP'[:frames]]], dtype=torch.uint8)
    return {
        'lq': lq,
        'mv_past': past,
        'mv_future': -past,
        'past_valid': valid,
        'future_valid': valid,
        'pict_type': types,
    }


def test_side_information_points_the_right_way():
    """Warped as the network does it, neighbours are what the frames show, and nothing is in doubt."""
    sample = panning()
    net, lq = small(), sample['lq']
    mvs = net.arguments(sample)['mvs'].movedim(-1, 2)
    count = lq.shape[1]
    to_next, to_previous = -mvs[:, count + 1 :], -mvs[:, : count - 1]
    inner = (..., slice(3, -3), slice(4, -4))
    torch.testing.assert_close(_doubt(lq[:, :-1], lq[:, 1:], to_next)[inner], torch.full((1, 2, 1, 10, 8), 0.5))
    torch.testing.assert_close(_doubt(lq[:, 1:], lq[:, :-1], to_previous)[inner], torch.full((1, 2, 1, 10, 8), 0.5))
    nowhere = {**sample, 'past_valid': torch.zeros_like(sample['past_valid'])}
    assert not net.arguments(nowhere)['mvs'][:, count:].any()


def test_types():
    letters = torch.tensor([[ord(c) for c in 'IPB?']], dtype=torch.uint8)
    assert type_numbers(letters).tolist() == [[0, 2, 1, 2]]


@pytest.mark.parametrize('quirk', [False, True])
def test_compression_counts_unless_the_quirk_is_asked_for(quirk):
    net = small(cam_release_quirk=quirk).eval()
    sample = panning()
    others = {**sample, 'pict_type': torch.full_like(sample['pict_type'], ord('I'))}
    others['pict_type'][:, 2] = ord('B')  # the same state, another representation
    with torch.no_grad():
        out, other = (net(s['lq'], **net.arguments(s)) for s in (sample, others))
    assert torch.equal(out, other) is quirk
    assert any(p.requires_grad for p in net.modulate_b.parameters()) is not quirk


def test_authors_files_need_the_quirk():
    net = small(cam_release_quirk=True, scale=4)
    weights = {key: x for key, x in net.state_dict().items() if not key.endswith('type_vectors')}
    told = infer_options(weights)
    assert told['cam_release_quirk'] is True
    assert told['scale'] == 4
    build_network(told).load_state_dict(net.published_weights(weights))
