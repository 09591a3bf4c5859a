"""Small networks, and options and batches that they train with, without files."""

import tempfile
from pathlib import Path

import torch
import yaml

from votes.archs import build_network
from votes.archs.contract import promise
from votes.commands.check_network import length_of, sample_for
from votes.options import load_options
from votes.registry import NETWORKS

WHOLE = [name for name in NETWORKS.names() if getattr(NETWORKS.get(name), 'sees', True) is not None]


def network_options(name):
    return {'type': name, **getattr(NETWORKS.get(name), 'small', {})}


def options(name, said, side, amp):
    """Options of a training, without files."""
    roots = {'dataroot_gt': 'gt', 'dataroot_lq': 'lq', 'codec_metadata': 'metadata'}
    trained = bool(getattr(build_network(network_options(name)), 'trained_before', ()))
    content = {
        'name': name,
        'model_type': 'RestorationModel',
        'scale': said.scale,
        'num_gpu': 1,
        'datasets': {'train': {'type': 'UVSSMDataset', **roots, 'gt_size': side * said.scale}},
        'network_g': network_options(name),
        'path': {'pretrain_network_g': 'an_earlier_stage.pth'} if trained else {},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': 1e-4},
            'total_iter': 2,
            'pixel_opt': {'type': 'CharbonnierLoss'},
            'amp': amp,
            'grad_clip': 1,
        },
        'logger': {},
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f'{name}.yml')
        file.write_text(yaml.safe_dump(content))
        found = load_options(file, 'train', check_paths=False)
    found.path.pretrain_network_g = None
    return found


def training(name, amp):
    """What a network promises, options of a training, and a batch as a loader gives it."""
    said = promise(build_network(network_options(name)))
    side = -(-max(16, said.smallest) // said.multiple) * said.multiple
    count = length_of(said)
    batch = sample_for(said, count, (side, side))
    batch['lq'] = (batch['lq'] * 255).byte()
    batch['gt'] = torch.full((1, count, 3, side * said.scale, side * said.scale), 128, dtype=torch.uint8)
    return said, options(name, said, side, amp), batch
