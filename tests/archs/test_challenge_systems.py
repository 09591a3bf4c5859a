"""What is special about the systems of the NTIRE 2021 challenge: matches, patches that overlap, masks and gates."""

import json

import pytest
import torch

from votes.archs import build_network
from votes.archs.astf_arch import ASTF, texture_mask
from votes.archs.block2rock_arch import best_matches
from votes.archs.contract import Clip, Window, apply
from votes.archs.edge_unsharp_arch import EdgeWeightedUnsharp
from votes.archs.fields import reversed_in_time
from votes.archs.overlap_arch import Overlap
from votes.archs.parts.overlap import starts_of, triangle
from votes.data.codec_metadata import CodecMetadata

SMALL = {'type': 'RRDBNet', 'scale': 1, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4, 'upsampling': False}


def test_the_best_match_is_where_differences_are_least():
    torch.manual_seed(0)
    regions = torch.rand(5, 3, 20, 26)
    patches = torch.stack([r[:, i : i + 8, 2 * i : 2 * i + 8] for i, r in enumerate(regions)])
    noisy = patches + 0.02 * torch.randn_like(patches) + 0.01
    windows = regions.unfold(2, 8, 1).unfold(3, 8, 1)
    distances = (windows - noisy[:, :, None, None]).square().sum((1, 4, 5))
    least = distances.flatten(1).argmin(1)
    found = best_matches(noisy, regions)
    assert found.tolist() == [[n // 19, n % 19] for n in least.tolist()]
    assert found.tolist() == [[i, 2 * i] for i in range(5)]


def test_block2rock_stacks_what_moved():
    """Frames that move by whole pixels: every match is the patch itself."""
    options = {'type': 'Block2Rock', 'network': {**SMALL, 'num_in_ch': 9}, 'num_frame': 3}
    net = build_network({**options, 'patch': 16, 'stride': 12, 'radius': 4})
    picture = torch.rand(1, 3, 40, 48)
    x = torch.stack([picture[..., 4 + d : 36 + d, 4:44] for d in (-2, 0, 3)], 1)
    places = torch.tensor([[0, 8, 10], [0, 4, 20]])
    stacked = net._stacked(x, places)
    assert stacked.shape == (2, 3, 3, 16, 16)
    assert torch.equal(stacked[:, 0], stacked[:, 1])
    assert torch.equal(stacked[:, 0], stacked[:, 2])
    assert torch.equal(stacked[1, 0], x[0, 1, :, 4:20, 20:36])
    with pytest.raises(ValueError, match='does not restore the first of 3'):
        type(net)({'type': 'STDF', 'radius': 1, 'in_nc': 3}, num_frame=3)


def test_patches_cover_and_a_triangle_weighs():
    assert starts_of(10, 4, 3) == [0, 3, 6]
    assert starts_of(11, 4, 3) == [0, 3, 6, 7]
    assert starts_of(4, 6, 3) == [0]
    assert triangle(5).tolist() == pytest.approx([5 / 9, 10 / 9, 15 / 9, 10 / 9, 5 / 9])


def test_overlapping_patches_of_a_network_that_is_shift_invariant():
    """Inside, where no patch has an edge near, the mean over patches is what the whole gives."""
    net = Overlap(**Overlap.small).eval()
    assert isinstance(net.sees, Clip)
    for parameter in net.network.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.rand(1, 5, 3, 40, 32)
    torch.testing.assert_close(net(x), x, msg='a network that changes nothing')
    torch.nn.init.constant_(net.network.synthesis.bias, 0.25)
    torch.testing.assert_close(net(x), x + 0.25)


def test_texture_takes_the_first_network():
    torch.manual_seed(0)
    frames = torch.full((1, 4, 3, 40, 40), 0.5)
    frames[:, 1, :, :20, :20] = torch.rand(3, 20, 20)
    mask = texture_mask(frames)
    assert mask.shape == (1, 4, 1, 40, 40)
    assert mask.amin() == 0
    assert mask[0, 1, 0, :12, :12].mean() > 0.5
    assert mask[0, 1, 0, 30:, 30:].max() == 0
    assert mask[0, 3].max() == 0, 'no texture in the frame and beside it'
    net = ASTF(**ASTF.small)
    first, second = torch.zeros_like(frames), frames
    torch.testing.assert_close(net.combine([first, second], frames), (1 - mask) * second)
    net.swap = True
    torch.testing.assert_close(net.combine([first, second], frames), mask * second)


def test_a_gate_lies_between():
    net = build_network({'type': 'Gated', 'networks': [SMALL, SMALL], 'num_feat': 4})
    x = torch.rand(1, 3, 8, 8)
    first, second = (each(x) for each in net.networks)
    torch.nn.init.constant_(net.gate[-1].bias, 50.0)
    torch.testing.assert_close(net(x), first)
    torch.nn.init.constant_(net.gate[-1].bias, -50.0)
    torch.testing.assert_close(net(x), second)
    assert {'network0', 'network1', 'gate'} <= net.parts.keys()


def test_parts_of_networks_inside_of_networks_inside():
    """`network0` is the first of the outer ones, and nothing of the second."""
    inner = {'type': 'Average', 'networks': [SMALL, SMALL]}
    parts = build_network({'type': 'Average', 'networks': [inner, inner]}).parts
    assert parts['network0'] == ('networks.0.',)
    assert parts['network1'] == ('networks.1.',)
    assert parts['network1.network0'] == ('networks.1.networks.0.',)


def test_edges_alone_are_sharpened():
    net = EdgeWeightedUnsharp(amount=1.0)
    x = torch.full((1, 3, 12, 20), 0.25)
    x[..., 10:] = 0.75
    sharp = net(x).detach()
    assert (sharp - x)[..., :7].abs().max() < 1e-4
    assert sharp[..., 9].max() < 0.25
    assert sharp[..., 10].min() > 0.75


def test_i_frames_are_picked(tmp_path):
    (tmp_path / '000').mkdir()
    about = {'size': [16, 16], 'types': list('IPBI'), 'bytes': [9, 3, 1, 8], 'pqf': [True, False, True, False]}
    (tmp_path / '000' / 'frames.json').write_text(json.dumps(about))
    metadata = CodecMetadata(tmp_path)
    assert metadata.marks('000', 'intra') == [True, False, False, True]
    assert metadata.marks('000', 'anchors') == [True, True, False, True]
    assert metadata.marks('000') == [True, False, True, False]
    sizes = {'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 1, 'scale': 1}
    net = build_network({'type': 'EDVRIntra', **sizes})
    assert net.sees == Window(5, pick='intra', adjacent=True)
    torch.nn.init.constant_(net.place, 0.1)
    x = torch.rand(1, 5, 3, 16, 16)
    same = apply(net.eval(), {'lq': x[:, [0, 1, 2, 3, 4]]})['out']
    assert same.shape == (1, 1, 3, 16, 16)


def test_a_pipeline_picks_frames_of_a_scene_by_their_types():
    options = {'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1, 'scale': 1}
    second = {'type': 'BasicVSR', 'num_feat': 8, 'num_block': 1, 'scale': 1}
    net = build_network({'type': 'Pipeline', 'first': {'type': 'EDVRIntra', **options}, 'second': second})
    assert net.inputs == ('pict_type', 'scene')
    kinds = torch.tensor([[ord(letter) for letter in 'IPPPIP']])

    def windows(fields, *numbers):
        return net._windows(net.first.sees, 6, list(numbers), fields).tolist()

    one = {'pict_type': kinds, 'scene': torch.ones(1, 6)}
    assert windows(one, 2, 5) == [[[0, 1, 2, 3, 4], [0, 4, 5, 5, 5]]]
    two = {'pict_type': kinds, 'scene': torch.tensor([[1, 1, 1, 1, 2, 2]])}
    assert windows(two, 2, 5) == [[[0, 1, 2, 3, 3], [4, 4, 5, 5, 5]]]
    assert windows(reversed_in_time(two, 1), 0, 3) == [[[0, 0, 0, 1, 1], [2, 2, 3, 4, 5]]]
