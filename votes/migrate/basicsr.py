"""Option files of BasicSR and of the VOTES release. Most of them are taken as they are (options.habits); what means
something else there is rewritten, or said.
"""

from __future__ import annotations

import copy
from typing import Any

from votes.options.foreign import PICTURES

FRAMEWISE = ('REDSDataset', 'REDSRecurrentDataset')  # an epoch there visits each frame
# of `val` in BasicSR's networks of clips
OF_VALIDATION = {
    'flip_seq': 'val.flip_seq: clips are not restored a second time with their mirror image',
    'center_frame_only': 'val.center_frame_only: every frame of a clip is measured, not the middle one alone',
}


def converted(data: dict[str, Any]) -> tuple[str, dict[str, Any], list[str], list[str]]:
    """A file of BasicSR -> mode, options, what changed, what is left out; see files.Migrated."""
    options = copy.deepcopy(data)
    changed: list[str] = []
    left_out: list[str] = []
    train, datasets = options.get('train'), options.get('datasets') or {}
    for name, section in datasets.items():
        if isinstance(section, dict) and section.get('type') in PICTURES:
            left_out += pictures(f'datasets.{name}', section, name == 'train')
            changed.append(f'datasets.{name}: each picture is a clip of one frame')
    if isinstance(train, dict):
        changed += _first_iterations(train)
        changed += _processes(options, datasets)
        changed += _epochs(datasets.get('train') or {})
        changed += _warm_up(train)
    _weights(options)
    val = options.get('val')
    if isinstance(val, dict):
        left_out += [text for key, text in OF_VALIDATION.items() if val.pop(key, False)]
    return 'train' if isinstance(train, dict) else 'test', options, changed, left_out


def pictures(where: str, section: dict[str, Any], training: bool) -> list[str]:
    """Rewrites a dataset of pairs of pictures; returns what is not supported of it."""
    said = []
    backend = section.get('io_backend')
    if isinstance(backend, dict) and backend.get('type', 'disk') != 'disk':
        said.append(f'{where}.io_backend: an LMDB of pictures is not read, a folder of them is')
    section['type'] = 'UVSSMDataset' if training else 'VideoUVSSMTestDataset'
    section['io_backend'] = {'type': 'pictures'}
    section['num_frame'] = 1
    if section.pop('filename_tmpl', '{}') != '{}':
        said.append(f'{where}.filename_tmpl: a picture of LQ has the name of its original')
    listed = section.pop('meta_info_file', None) or section.pop('meta_info', None)
    if listed:
        said.append(f'{where}.meta_info_file: {listed} lists sizes and no numbers of frames, all pictures are taken')
    for key in ('mean', 'std'):
        if section.pop(key, None) is not None:
            said.append(f'{where}.{key}: pictures reach a network as they are, in [0, 1]')
    if section.pop('color', None) == 'y':
        said.append(f'{where}.color: colours are kept, metrics have test_y_channel')
    for key in ('dataroot_gt', 'dataroot_lq'):
        several = section.get(key)
        if isinstance(several, list):
            section[key] = several[0] if several else None
            if len(several) > 1:
                said.append(f'{where}.{key}: the first of {len(several)} folders is read; link the others into it')
    return said


def _first_iterations(train: dict[str, Any]) -> list[str]:
    """There, iteration N itself already trains what rests at first; here N iterations rest."""
    changed = []
    for key in ('tsa_iter', 'fix_flow', 'fix_iter'):
        count = train.get(key)
        if isinstance(count, int) and not isinstance(count, bool) and count > 0:
            train[key] = count - 1
            changed.append(f'train.{key}: {count} there lets go in iteration {count} itself, so {count - 1} rest')
    return changed


def _processes(options: dict[str, Any], datasets: dict[str, Any]) -> list[str]:
    count = options.get('num_gpu')
    if not isinstance(count, int) or count < 2:
        return []
    options['num_gpu'] = 'auto'
    batch = (datasets.get('train') or {}).get('batch_size_per_gpu', 16)
    return [
        f'num_gpu: the number of processes comes from the launcher (`votes launch --nproc {count}`): {count} of them '
        f'make steps of {count} x {batch} samples, a single one does so with train.accumulate: {count}'
    ]


def _epochs(data: dict[str, Any]) -> list[str]:
    if data.get('type') not in FRAMEWISE:
        return []
    said = ['datasets.train: an epoch visits each clip where it visited each frame; windows are drawn alike']
    steps = data.get('interval_list') or [1]
    if max(steps) > 1 and data['type'] == 'REDSRecurrentDataset':
        said.append(f'datasets.train.interval_list: the last {max(steps) - 1} starts in a clip are drawn as well')
    return said


def _warm_up(train: dict[str, Any]) -> list[str]:
    schedule, count = train.get('scheduler'), train.get('warmup_iter')
    if not isinstance(schedule, dict) or not isinstance(count, int) or count < 1:
        return []
    if not str(schedule.get('type')).startswith('MultiStep'):
        return []
    return [
        f'train.warmup_iter: it ends at the whole rate, there at {count - 1} / {count} of it up to the next restart'
    ]


def _weights(options: dict[str, Any]) -> None:
    """Which weights of a file are loaded where nothing is said: there `params`, here their average."""
    path = options.get('path')
    if not isinstance(path, dict):
        return
    named = path.get('pretrain_network_g') or path.get('pretrain_model_g')
    if named and 'param_key_g' not in path:
        path['param_key_g'] = 'params'
