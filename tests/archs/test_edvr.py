import re

import pytest
import torch

from votes.archs import build_network, infer_options
from votes.archs.contract import apply, promise
from votes.checkpoint import load_network, save

SMALL = {'type': 'EDVR', 'num_feat': 8, 'num_extract_block': 1, 'num_reconstruct_block': 1, 'deformable_groups': 4}


@pytest.mark.parametrize(
    ('more', 'size'),
    [
        ({'with_predeblur': True}, (4, 4)),
        ({'with_predeblur': True, 'scale': 3, 'with_tsa': False}, (3, 4)),
        ({'with_predeblur': True, 'hr_in': True}, (1, 16)),
        ({'with_predeblur': True, 'hr_in': True, 'scale': 2}, (1, 8)),
    ],
)
def test_deblurring(more, size):
    """Frames as small as ever, or of the size of the output; the variant is told by the weights."""
    torch.manual_seed(0)
    net = build_network({**SMALL, **more}).eval()
    said = promise(net)
    assert (said.scale, said.multiple) == size
    lq = torch.rand(1, 5, 3, 17, 22)
    with torch.no_grad():
        out = apply(net, {'lq': lq})['out']
        assert out.shape == (1, 1, 3, 17 * said.scale, 22 * said.scale)
        again = build_network(infer_options(net.state_dict())).eval()
        again.load_state_dict(net.state_dict())
        assert torch.equal(apply(again, {'lq': lq})['out'], out)
    names = [name for name, _ in net.named_parameters()]
    assert all(any(name.startswith(prefix) for name in names) for part in net.parts.values() for prefix in part)


ACTIVATED = re.compile(
    r'(offset_conv\d\.l\d|cas_offset_conv\d|feat_conv\.l\d|conv_l\d_\d|feat_fusion|spatial_attn(_l)?\d|add1)(\.\w+)$'
)


def test_files_of_mmagic(tmp_path):
    """Its names: feat_l2_conv1.conv.weight, pcd_alignment.offset_conv1.l3.conv.weight, upsample1.upsample_conv..."""
    torch.manual_seed(0)
    net, other = build_network(SMALL), build_network(SMALL)
    theirs = {}
    for key, value in net.state_dict().items():
        name = key if key.startswith('fusion.spatial_attn5') else ACTIVATED.sub(r'\1.conv\3', key)
        name = re.sub(r'^conv_l(\d)_(\d)', r'feat_l\1_conv\2', name).replace('pcd_align.', 'pcd_alignment.')
        theirs['generator.' + re.sub(r'^upconv(\d)', r'upsample\1.upsample_conv', name)] = value
    assert {
        'generator.feat_l3_conv2.conv.bias',
        'generator.pcd_alignment.feat_conv.l1.conv.weight',
        'generator.pcd_alignment.dcn_pack.l2.conv_offset.weight',
        'generator.fusion.spatial_attn_l3.conv.weight',
        'generator.fusion.spatial_attn5.weight',
        'generator.upsample2.upsample_conv.weight',
    } <= theirs.keys()
    save({'meta': {}, 'state_dict': theirs, 'optimizer': {}}, tmp_path / 'mmagic.pth')
    assert not load_network(other, tmp_path / 'mmagic.pth')
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in net.state_dict().items())
    told = infer_options({key.removeprefix('generator.'): value for key, value in theirs.items()})
    assert (told['type'], told['scale'], told['with_tsa']) == ('EDVR', 4, True)


def test_sizes_of_basicsr():
    large = {'num_feat': 128, 'num_reconstruct_block': 40}
    for more, count, tensors in (
        ({'with_tsa': False}, 2996259, 120),
        ({'num_frame': 7}, 3316515, 144),
        ({**large, 'with_predeblur': True}, 23306851, 302),
        ({**large, 'with_predeblur': True, 'hr_in': True}, 23602019, 306),
    ):
        with torch.device('meta'):
            net = build_network({'type': 'EDVR', **more})
        assert (sum(p.numel() for p in net.parameters()), len(net.state_dict())) == (count, tensors)
