"""Datasets of mmagic's configurations: folders of frames, and the pipeline that crops and turns them."""

from __future__ import annotations

import posixpath
from typing import Any

from votes.errors import UserError

# steps that a dataset of this project takes by itself, or that only say how pictures are packed
PLAIN = {
    *('LoadImageFromFile', 'SetValues', 'PackInputs', 'PackEditInputs', 'ToTensor', 'GenerateSegmentIndices'),
    *('GenerateFrameIndices', 'GenerateFrameIndiceswithPadding', 'FramesToTensor', 'Collect', 'ModCrop'),
}
CUTS = {'PairedRandomCrop', 'FixedCrop'}
DAMAGE = ('Random', 'Degradations', 'UnsharpMasking')  # how the names of steps that damage frames begin
NO_DAMAGE = {'RandomTransposeHW'}
# lists of clips that come with this project
LISTS = {
    'reds_reds4': './data/meta_info/meta_info_REDS4_test_GT.txt',
    'reds_official': './data/meta_info/meta_info_REDSofficial_test_GT.txt',
}
PARTITIONS = {'reds_reds4': 'REDS4', 'reds_official': 'official'}


def datasets_of(
    config: dict[str, Any], network: dict[str, Any], training: bool, changed: list[str], left_out: list[str]
) -> dict[str, Any]:
    """The section `datasets`.

    Raises:
        UserError: a pipeline damages frames.
    """
    found: dict[str, Any] = {}
    if training:
        found['train'] = _train(config['train_dataloader'], network, changed, left_out)
    loaders = (
        config.get('val_dataloader') if training else config.get('test_dataloader') or config.get('val_dataloader')
    )
    for number, loader in enumerate(loaders if isinstance(loaders, list) else [loaders] if loaders else []):
        section = _tested(loader, changed)
        name = 'val' if training else 'test'
        found[name if not number else f'{name}_{number + 1}'] = section
    return found


def _unwrapped(dataset: dict[str, Any]) -> tuple[dict[str, Any], int]:
    times = 1
    while isinstance(dataset.get('dataset'), dict):  # RepeatDataset
        times *= int(dataset.get('times', 1))
        dataset = dataset['dataset']
    return dataset, times


def _roots(dataset: dict[str, Any]) -> dict[str, str]:
    root, prefix = str(dataset.get('data_root') or ''), dataset.get('data_prefix') or {}
    return {
        'dataroot_gt': posixpath.join(root, str(prefix.get('gt', ''))),
        'dataroot_lq': posixpath.join(root, str(prefix.get('img', prefix.get('lq', '')))),
    }


def _steps(dataset: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for step in dataset.get('pipeline') or []:
        found.setdefault(str(step.get('type')), []).append(step)
    return found


def _train(loader: dict[str, Any], network: dict[str, Any], changed: list[str], left_out: list[str]) -> dict[str, Any]:
    dataset, times = _unwrapped(dict(loader['dataset']))
    kind, about = str(dataset.get('type')), dataset.get('metainfo') or {}
    steps = _steps(dataset)
    damage = [name for name in steps if name.startswith(DAMAGE) and name not in NO_DAMAGE]
    if damage:
        raise UserError(
            'a pipeline that damages frames while it trains is not converted',
            value=', '.join(damage[:3]),
            fix='a recipe does that here: datasets.train.degradation, such as options/degrade/real_esrgan.yml',
        )
    pictures, data = kind == 'BasicImageDataset', str(about.get('dataset_type', ''))
    septuplets = data.startswith('vimeo')
    section: dict[str, Any] = {'type': 'Vimeo90KDataset' if septuplets and _windows(network) else 'UVSSMDataset'}
    section |= _roots(dataset)
    if pictures:
        section['io_backend'] = {'type': 'pictures'}
        changed.append('datasets.train: each picture is a clip of one frame')
    elif data in PARTITIONS:
        section['val_partition'] = PARTITIONS[data]
    elif dataset.get('ann_file'):
        section['meta_info_file'] = posixpath.join(str(dataset.get('data_root') or ''), str(dataset['ann_file']))
        changed.append('datasets.train.meta_info_file: its lines have to be NAME FRAMES (BasicSR has such a list)')
    section['num_frame'] = 1 if pictures else int(dataset.get('num_input_frames', 5))
    if septuplets and not _windows(network):
        section['num_frame'] = -1
    section['center_gt'] = _windows(network)
    section |= _cut(steps, changed)
    for name in steps.keys() - PLAIN - CUTS - {'Flip', 'RandomTransposeHW', 'MirrorSequence', 'TemporalReverse'}:
        left_out.append(f'train_pipeline: {name} is not here')
    section['batch_size_per_gpu'] = int(loader.get('batch_size', 1))
    section['num_worker_per_gpu'] = int(loader.get('num_workers', 4))
    if times > 1:
        section['dataset_enlarge_ratio'] = times
    return section


def _windows(network: dict[str, Any]) -> bool:
    return network['type'] in ('EDVR', 'TDAN', 'TOFlow')


def _cut(steps: dict[str, list[dict[str, Any]]], changed: list[str]) -> dict[str, Any]:
    """How frames are chosen, cropped and turned."""
    found: dict[str, Any] = {}
    for crop in steps.get('PairedRandomCrop', []):
        found['gt_size'] = int(crop['gt_patch_size'])
    directions = {str(flip.get('direction', 'horizontal')) for flip in steps.get('Flip', [])}
    found['use_flip'] = bool(directions)
    if directions and directions != {'horizontal', 'vertical'}:
        changed.append('datasets.train.use_flip: frames are mirrored in both directions, there in one')
    found['use_rot'] = 'RandomTransposeHW' in steps
    for reverse in steps.get('TemporalReverse', []):
        ratio = float(reverse.get('reverse_ratio', 0.5))
        found['random_reverse'] = ratio > 0
        if ratio not in (0.0, 0.5):
            changed.append(f'datasets.train.random_reverse: half of the windows run backwards, there {ratio} of them')
    for indices in (*steps.get('GenerateSegmentIndices', []), *steps.get('GenerateFrameIndices', [])):
        found['interval_list'] = list(indices.get('interval_list') or [1])
    if 'MirrorSequence' in steps:
        found['flip_sequence'] = True
    return found


def _tested(loader: dict[str, Any], changed: list[str]) -> dict[str, Any]:
    dataset, _ = _unwrapped(dict(loader['dataset']))
    data = str((dataset.get('metainfo') or {}).get('dataset_type', ''))
    section: dict[str, Any] = {'type': 'VideoUVSSMTestDataset'}
    if data:
        section['name'] = data
    section |= _roots(dataset)
    if dataset.get('type') == 'BasicImageDataset':
        section['io_backend'] = {'type': 'pictures'}
        section['num_frame'] = 1
    elif data in LISTS:
        section['meta_info_file'] = LISTS[data]
        section['num_frame'] = -1
    else:
        section['num_frame'] = -1
        if dataset.get('ann_file'):
            changed.append(f'datasets.{data or "val"}: all clips are tested, not those of {dataset["ann_file"]}')
    for padding in _steps(dataset).get('GenerateFrameIndiceswithPadding', []):
        section['padding'] = str(padding.get('padding', 'reflection_circle'))
    return section
