"""IconVSR: which frames its key frames look at, and files of EDVR and of mmagic."""

import re

import pytest
import torch

from votes.archs import build_network
from votes.archs.iconvsr_arch import EDVRFeatures, IconVSR
from votes.checkpoint import load_network, save
from votes.errors import UserError


@pytest.mark.parametrize(
    ('padding', 'count', 'windows'),
    [
        (2, 6, {0: [4, 3, 0, 1, 2], 3: [1, 2, 3, 4, 5], 5: [3, 4, 5, 2, 1]}),
        (3, 7, {0: [6, 5, 4, 0, 1, 2, 3], 3: [0, 1, 2, 3, 4, 5, 6], 6: [3, 4, 5, 6, 2, 1, 0]}),
    ],
)
def test_windows_of_key_frames(padding, count, windows):
    net = IconVSR(**IconVSR.small, temporal_padding=padding)
    seen = {}
    net.edvr.forward = lambda x: x[:, :, 0, 0, 0]
    numbers = torch.arange(float(count)).view(1, count, 1, 1, 1).expand(1, count, 3, 4, 4)
    for key, features in net.key_features(numbers).items():
        seen[key] = features[0].tolist()
    assert seen == windows
    with pytest.raises(UserError, match=f'at least {2 * padding + 1}'):
        net(numbers[:, : 2 * padding])


def test_key_frames_from_a_whole_edvr(tmp_path):
    torch.manual_seed(0)
    edvr = build_network({'type': 'EDVR', 'num_feat': 8, 'num_reconstruct_block': 1})
    save({'params': edvr.state_dict()}, tmp_path / 'edvr.pth')
    features = EDVRFeatures(5, 8)
    assert not load_network(features, tmp_path / 'edvr.pth', prefix='edvr.')
    assert torch.equal(features.fusion.feat_fusion.weight, edvr.fusion.feat_fusion.weight)


def test_names_of_mmagic():
    net = IconVSR(**IconVSR.small)
    plain = ('conv_first', 'feature_extraction', 'dcnpack', 'dcn_pack', 'temporal_attn', 'attn5', 'attn_add2')
    theirs = {}
    for key, value in net.state_dict().items():
        new = key
        if key.startswith('spynet.b'):
            new = re.sub(r'(\d)\.(weight|bias)$', lambda found: f'{int(found[1]) // 2}.conv.{found[2]}', key)
        elif key.startswith('edvr.'):
            new = re.sub(r'conv_l(\d)_(\d)\.', r'feat_l\1_conv\2.', key).replace('pcd_align', 'pcd_alignment')
            if not any(name in key for name in plain):
                new = re.sub(r'\.(weight|bias)$', r'.conv.\1', new)
        new = re.sub(r'upconv(\d)\.', r'upsample\1.upsample_conv.', new.replace('ward_trunk', 'ward_resblocks'))
        theirs[new] = value
    assert IconVSR.from_weights(theirs) == {'num_feat': 8, 'num_block': 1, 'temporal_padding': 2, 'scale': 2}
    assert IconVSR.published_weights(theirs).keys() == net.state_dict().keys()
