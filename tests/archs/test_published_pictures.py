"""Networks of single frames and of windows without motion read weights under the names by which they circulate."""

import re

import pytest
import torch

from votes import checkpoint
from votes.archs import build_network, infer_options
from votes.registry import NETWORKS

SIMPLE = {'head.0': 'conv_first', 'tail.0': 'upsample', 'tail.1': 'conv_last'}


def edsr(weights, net):
    """EDSR-PyTorch, with its fixed layers of the mean."""
    names = [
        (r'^body\.(\d+)\.conv1\.', r'body.\1.body.0.'),
        (r'^body\.(\d+)\.conv2\.', r'body.\1.body.2.'),
        (r'^conv_after_body\.', f'body.{len(net.body)}.'),
    ]
    found = changed(weights, names + [(f'^{own}\\.', f'{theirs}.') for theirs, own in SIMPLE.items()])
    for name, sign in (('sub', -1), ('add', 1)):
        found[f'{name}_mean.weight'] = torch.eye(3).view(3, 3, 1, 1)
        found[f'{name}_mean.bias'] = sign * 255 * torch.tensor([0.4488, 0.4371, 0.4040])
    return found


def rcan(weights, net):
    """The authors' RCAN."""
    names = [
        (r'^body\.(\d+)\.residual_group\.(\d+)\.rcab\.3\.attention\.1\.', r'body.\1.body.\2.body.3.conv_du.0.'),
        (r'^body\.(\d+)\.residual_group\.(\d+)\.rcab\.3\.attention\.3\.', r'body.\1.body.\2.body.3.conv_du.2.'),
        (r'^body\.(\d+)\.residual_group\.(\d+)\.rcab\.', r'body.\1.body.\2.body.'),
        (r'^body\.(\d+)\.conv\.', rf'body.\1.body.{len(net.body[0].residual_group)}.'),
        (r'^conv_after_body\.', f'body.{len(net.body)}.'),
    ]
    return changed(weights, names + [(f'^{own}\\.', f'{theirs}.') for theirs, own in SIMPLE.items()])


def rcan_basicsr(weights, net):
    """BasicSR's RCAN, whose mean is no weight."""
    return {key: x for key, x in weights.items() if '_mean.' not in key}


def san(weights, net):
    """The authors' SAN, with a layer that is never used."""
    return changed(weights, [(r'\.body\.', '.conv_first.')]) | {'RG.0.gamma': torch.zeros(1)}


def esrgan(weights, net):
    """The ESRGAN repository."""
    names = {'conv_body': 'trunk_conv', 'conv_up1': 'upconv1', 'conv_up2': 'upconv2', 'conv_hr': 'HRconv'}
    return changed(
        weights,
        [
            (r'^body\.(\d+)\.rdb(\d)\.', r'RRDB_trunk.\1.RDB\2.'),
            *((f'^{own}\\.', f'{theirs}.') for own, theirs in names.items()),
        ],
    )


def esrgan_old(weights, net):
    """The older files of the ESRGAN repository, a sequence of layers."""
    places = {'conv_first': '0', 'conv_body': f'1.sub.{len(net.body)}', 'conv_up1': '3', 'conv_up2': '6'}
    places |= {'conv_hr': '8', 'conv_last': '10'}
    return changed(
        weights,
        [
            (r'^body\.(\d+)\.rdb(\d)\.conv(\d)\.', r'model.1.sub.\1.RDB\2.conv\3.0.'),
            *((f'^{own}\\.', f'model.{place}.') for own, place in places.items()),
        ],
    )


def wdsr(weights, net):
    """PyTorch's newer weight normalisation."""
    return changed(
        weights,
        [(r'weight_g$', 'parametrizations.weight.original0'), (r'weight_v$', 'parametrizations.weight.original1')],
    )


def rcvn(weights, net):
    """The authors' RCVN."""
    blocks = len(net.recon_trunk3.body[0].residual_group)
    found = changed(
        weights,
        [
            (r'body\.(\d+)\.residual_group\.(\d+)\.rcab\.3\.attention\.', r'rg.\1.module.\2.module.3.module.'),
            (r'body\.(\d+)\.residual_group\.(\d+)\.rcab\.', r'rg.\1.module.\2.module.'),
            (r'body\.(\d+)\.conv\.', rf'rg.\1.module.{blocks}.'),
            (r'conv_after_body\.', 'recons.'),
        ],
    )
    return {f'rcvn_b.{key}': x for key, x in found.items()}


def duf(weights, net):
    """Variables of the authors' TensorFlow network."""
    names = {'conv3d1': 'conv1', 'bn3d2': 'fbn1', 'conv3d2': 'conv2'}
    names |= {f'conv3d_{kind}{i}': f'{kind}conv{i}' for kind in 'rf' for i in (1, 2)}
    dense = [f'dense_block1.dense_blocks.{i}' for i in range(3)] + [
        f'dense_block2.temporal_reduce{i}' for i in (1, 2, 3)
    ]
    for number, layer in enumerate(dense, 1):
        for place, name in ((0, 'Rbn{}a'), (2, 'Rconv{}a'), (3, 'Rbn{}b'), (5, 'Rconv{}b')):
            names[f'{layer}.{place}'] = name.format(number)
    found = {}
    for key, x in weights.items():
        layer, _, kind = key.rpartition('.')
        if kind == 'num_batches_tracked':
            continue
        variables = {'running_mean': 'moving_mean', 'running_var': 'moving_variance'}
        variables |= {'weight': 'gamma', 'bias': 'beta'} if 'bn' in names[layer] else {'weight': 'W', 'bias': 'b'}
        if layer == 'conv3d_r2':  # colours last
            x = x.unflatten(0, (3, -1)).transpose(0, 1).flatten(0, 1)
        found[f'G/{names[layer]}/{variables[kind]}'] = x.permute(2, 3, 4, 1, 0) if x.ndim == 5 else x
    return found


def changed(weights, names):
    """Keys by the first pattern that is found in them."""
    found = {}
    for key, x in weights.items():
        pattern, words = next((pair for pair in names if re.search(pair[0], key)), ('$^', ''))
        found[re.sub(pattern, words, key, count=1)] = x
    return found


@pytest.mark.parametrize(
    ('name', 'published'),
    [
        ('EDSR', edsr),
        ('RCAN', rcan),
        ('RCAN', rcan_basicsr),
        ('SAN', san),
        ('RRDBNet', esrgan),
        ('RRDBNet', esrgan_old),
        ('WDSR_A', wdsr),
        ('WDSR_B', wdsr),
        ('RCVN_B', rcvn),
        ('DUF', duf),
    ],
    ids=lambda value: getattr(value, '__name__', value),
)
def test_published_names(name, published, tmp_path):
    torch.manual_seed(0)
    net = build_network({'type': name, **NETWORKS.get(name).small})
    file = published(net.state_dict(), net)
    assert file.keys() != net.state_dict().keys()
    checkpoint.save(file, tmp_path / 'public.pth')
    found = infer_options(file)
    assert found['type'] == name
    again = build_network(found)
    checkpoint.load_network(again, tmp_path / 'public.pth')
    for key, x in net.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], x)
