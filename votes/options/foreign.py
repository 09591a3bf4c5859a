"""Option files of other programs: which program a file is of, and what in it is not here, in a sentence each.

A file of a network or a training that is not here is not gone through key by key: all of it would be unknown.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from votes.options.yaml_file import Key
from votes.registry import MODELS, NETWORKS

REDUX = 'traiNNer-redux'
# at the top of its files, and nowhere else
OF_REDUX = {'use_amp', 'amp_bf16', 'use_channels_last', 'fast_matmul', 'use_compile', 'high_order_degradation'}
MIGRATE = '`votes migrate FILE` writes it as one of this project'
# pairs of pictures, each a file of its own
PICTURES = ('PairedImageDataset', 'pairedimagedataset')
NOT_HERE = {
    **dict.fromkeys(
        ('RealESRGANModel', 'RealESRNetModel'),
        'damages pictures while it trains, which is not supported as a model: here a recipe damages them '
        '(datasets.train.degradation), and SRGANModel trains',
    ),
    **dict.fromkeys(
        ('RealESRGANDataset', 'RealESRGANPairedDataset', 'realesrgandataset', 'realesrganpaireddataset'),
        'is not supported: UVSSMDataset with `degradation` damages clips by a recipe',
    ),
    **dict.fromkeys(
        ('SingleImageDataset', 'singleimagedataset', 'FFHQDataset', 'FFHQDegradationDataset'),
        'has pictures without originals, which is not supported: `votes restore` takes a folder of them',
    ),
    **dict.fromkeys(
        ('PairedVideoDataset', 'pairedvideodataset'),
        'has frames of many videos in one folder, which is not supported: UVSSMDataset has a folder for each clip',
    ),
    **dict.fromkeys(
        ('StyleGAN2Model', 'HiFaceGANModel', 'SwinIRModel'), 'trains networks of single pictures that are not here'
    ),
}
NEAR = 0.75  # a name this near to one that is here is a misspelling of it


def is_redux(data: Mapping[str, Any]) -> bool:
    """Whether an option file is one of traiNNer-redux, which begins where BasicSR was and has other words for much."""
    train = data.get('train')
    listed = isinstance(train, Mapping) and isinstance(train.get('losses'), list)
    return 'model_type' not in data and bool(OF_REDUX & data.keys() or listed)


def refusals(data: Mapping[str, Any], migrated: bool = False) -> list[tuple[Key, str]]:
    """Why a whole file cannot be read here, a sentence for each reason with its key; none where it can.

    Args:
        migrated: of what `votes migrate` makes of it: pairs of pictures are taken, and names are not misspelt.
    """
    if is_redux(data):
        return [((), f'is an option file of {REDUX}: {MIGRATE}')]
    found = list(_types(data, migrated))
    network = data.get('network_g')
    name = network.get('type') if isinstance(network, Mapping) else None
    if isinstance(name, str) and data.get('model_type') and is_unknown(name, 1 if migrated else NEAR):
        found = [(key, text) for key, text in found if key != ('model_type',)]
        found.append((('network_g', 'type'), not_in_zoo(name)))
    return found


def is_unknown(network: str, near: float = NEAR) -> bool:
    """Whether a network is not here, nor one with nearly its name."""
    if network in NETWORKS.table or ':' in network:
        return False
    lower = [name.lower() for name in NETWORKS.table]
    return not difflib.get_close_matches(network.lower(), lower, n=1, cutoff=near)


def not_in_zoo(network: str) -> str:
    return f'{network} is a network that is not here: `votes zoo` lists those that are, module:Class names your own'


def _types(data: Mapping[str, Any], pictures: bool) -> list[tuple[Key, str]]:
    """Models and datasets that are known and not here, each name once."""
    found: dict[str, tuple[Key, str]] = {}
    model = data.get('model_type')
    if isinstance(model, str) and model not in MODELS.table and model in NOT_HERE:
        found[model] = (('model_type',), f'{model} {NOT_HERE[model]}')
    datasets = data.get('datasets')
    for part, section in datasets.items() if isinstance(datasets, Mapping) else ():
        name = section.get('type') if isinstance(section, Mapping) else None
        if not isinstance(name, str):
            continue
        if name in PICTURES and not pictures:
            text = f'{name} reads a folder of pictures: {MIGRATE}, where each picture is a clip of one frame'
            found.setdefault(name, (('datasets', part, 'type'), text))
        elif name in NOT_HERE:
            found.setdefault(name, (('datasets', part, 'type'), f'{name} {NOT_HERE[name]}'))
    return list(found.values())
