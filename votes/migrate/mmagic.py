"""Configurations of mmagic 1 for networks that are here, as option files of this project."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from votes.errors import UserError
from votes.migrate.mmagic_data import datasets_of
from votes.migrate.python_config import read_config
from votes.options.foreign import not_in_zoo

COMMON = {'mid_channels': 'num_feat', 'num_blocks': 'num_block'}
TRUNK = {**COMMON, 'in_channels': 'num_in_ch', 'out_channels': 'num_out_ch'}
# generator there -> network here, its arguments' names here, arguments that are always the same
NETWORKS: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    'BasicVSRNet': ('BasicVSR', COMMON, {}),
    'IconVSRNet': ('IconVSR', {**COMMON, 'padding': 'temporal_padding'}, {}),
    'BasicVSRPlusPlusNet': ('BasicVSRPlusPlus', {}, {}),
    'BasicVSRPlusPlus': ('BasicVSRPlusPlus', {}, {}),
    'RealBasicVSRNet': ('RealBasicVSR', {}, {}),
    'EDVRNet': (
        'EDVR',
        {
            **TRUNK,
            'num_frames': 'num_frame',
            'deform_groups': 'deformable_groups',
            'num_blocks_extraction': 'num_extract_block',
            'num_blocks_reconstruction': 'num_reconstruct_block',
        },
        {'scale': 4},
    ),
    'TDANNet': (
        'TDAN',
        {
            'mid_channels': 'num_feat',
            'num_blocks_before_align': 'num_extract_block',
            'num_blocks_after_align': 'num_reconstruct_block',
        },
        {'scale': 4},
    ),
    'TOFlowVSRNet': ('TOFlow', {}, {}),
    'RRDBNet': ('RRDBNet', {**TRUNK, 'growth_channels': 'num_grow_ch', 'upscale_factor': 'scale'}, {}),
    'EDSRNet': ('EDSR', {**TRUNK, 'upscale_factor': 'upscale'}, {'img_range': 1.0}),
    'RDNNet': (
        'RDN',
        {**COMMON, 'upscale_factor': 'upscale', 'num_layers': 'num_layer', 'channel_growth': 'num_grow_ch'},
        {'img_range': 1.0},
    ),
}
# arguments without a place here, at the values that they have here
FIXED: dict[str, Any] = {'in_channels': 3, 'out_channels': 3, 'rgb_std': [1.0, 1.0, 1.0]}
MODELS = {'BasicVSR', 'EDVR', 'TDAN', 'RealBasicVSR', 'BaseEditModel', 'BasicRestorer', 'EDSR'}
# weights of parts that a generator names
OF_PARTS = {'spynet_pretrained': 'flow', 'edvr_pretrained': 'keyframes'}
# parts by what parameters' names contain
NAMED_PARTS = {'spynet': 'flow', 'edvr': 'keyframes'}
PRETRAINED = 'experiments/pretrained_models'


def converted(path: Path) -> tuple[str, dict[str, Any], list[str], list[str]]:
    """A configuration -> mode, options, what changed, what is left out; see files.Migrated.

    Raises:
        UserError: it is none of mmagic 1, its network is not here, or it holds code.
    """
    config = read_config(path)
    model = config.get('model')
    if not isinstance(model, dict) or not isinstance(model.get('generator'), dict):
        raise UserError(
            'this is no configuration of mmagic with a network of this project',
            where=path,
            value=f'it assigns {", ".join(sorted(config)[:6]) or "nothing"}',
            fix='model = dict(generator=dict(...))',
        )
    if 'optim_wrapper' not in config and ('total_iters' in config or 'optimizers' in config):
        raise UserError(
            'this is a configuration of mmediting 0.x, which mmagic 1 wrote anew', where=path, fix='that of mmagic 1'
        )
    changed: list[str] = []
    left_out: list[str] = []
    network, scale, weights = _network(model, config, path)
    training = 'train_dataloader' in config and 'optim_wrapper' in config
    options: dict[str, Any] = {
        'name': str(config.get('experiment_name') or path.stem),
        'model_type': 'RestorationModel',
        'scale': scale,
    }
    if isinstance(config.get('randomness'), dict) and config['randomness'].get('seed') is not None:
        options['manual_seed'] = int(config['randomness']['seed'])
    options['datasets'] = datasets_of(config, network, training, changed, left_out)
    options['network_g'] = network
    if config.get('load_from') and not config.get('resume'):
        options['path'] = {'pretrain_network_g': str(config['load_from'])}
    elif not training:
        options['path'] = {'pretrain_network_g': None}
    if training:
        processes = re.search(r'(?<!\d)(\d+)xb(\d+)', options['name'] + path.stem)
        if processes and int(processes[1]) > 1:
            changed.append(
                f'its name says {processes[1]} processes: `votes launch --nproc {processes[1]}`, or accumulate'
            )
        options['train'] = _train(model, config, network, weights, changed, left_out)
    options |= _running(config, training)
    _preprocessing(model, network, left_out)
    if model.get('type') not in MODELS:
        left_out.append(f'model.type: {model.get("type")} is not known; it is trained by its losses')
    return 'train' if training else 'test', options, changed, left_out


def _network(model: dict[str, Any], config: dict[str, Any], path: Path) -> tuple[dict[str, Any], int, dict[str, str]]:
    """The network, how often it enlarges, and which weights its parts start from."""
    given = dict(model['generator'])
    there = str(given.pop('type', ''))
    if there not in NETWORKS:
        raise UserError(f'model.generator.type: {not_in_zoo(there)}', where=path)
    name, names, always = NETWORKS[there]
    weights = {part: str(given[key]) for key, part in OF_PARTS.items() if given.get(key)}
    arguments: dict[str, Any] = {}
    for key, value in given.items():
        if key in OF_PARTS or key in ('init_cfg', 'pretrained'):
            continue
        if key in FIXED and key not in names:
            if value != FIXED[key]:
                raise UserError(f'model.generator.{key} has another value here', where=path, value=value)
            continue
        arguments[names.get(str(key), str(key))] = value
    arguments = {**always, **arguments}
    scale = next((int(arguments[key]) for key in ('scale', 'upscale') if key in arguments), 4)
    if name == 'BasicVSRPlusPlus' and arguments.get('is_low_res_input') is False:
        scale = 1
    if name == 'TOFlow':
        scale = 1 if config.get('scale') is None else int(config['scale'])
        arguments['upscale'] = scale
    return {'type': name, **arguments}, scale, weights


def _preprocessing(model: dict[str, Any], network: dict[str, Any], left_out: list[str]) -> None:
    """Frames reach networks in [0, 1]: that is what a mean of 0 and a deviation of 255 make of bytes."""
    about = model.get('data_preprocessor') or {}
    mean, std = about.get('mean', [0.0, 0.0, 0.0]), about.get('std', [255.0, 255.0, 255.0])
    shift = {float(value) / 255 for value in mean}
    if {float(value) for value in std} != {255.0} or len(shift) != 1:
        left_out.append(
            f'model.data_preprocessor: a mean of {mean} and a deviation of {std}; frames are in [0, 1] here'
        )
    elif network['type'] == 'TDAN':
        network['shift'] = shift.pop()
    elif shift != {0.0}:
        left_out.append(f'model.data_preprocessor: a mean of {mean}; frames are in [0, 1] here')


def _train(
    model: dict[str, Any],
    config: dict[str, Any],
    network: dict[str, Any],
    weights: dict[str, str],
    changed: list[str],
    left_out: list[str],
) -> dict[str, Any]:
    wrapper = config['optim_wrapper']
    wrapper = wrapper.get('generator', wrapper)
    if isinstance(wrapper.get('optimizer'), dict) and isinstance(wrapper['optimizer'].get('optimizer'), dict):
        wrapper = {**wrapper, **wrapper['optimizer']}
    train: dict[str, Any] = {'optim_g': dict(wrapper.get('optimizer') or {})}
    schedule = _schedule(config.get('param_scheduler'), left_out)
    if schedule:
        train['scheduler'] = schedule
    train['total_iter'] = int((config.get('train_cfg') or {}).get('max_iters', 0))
    parts = _parts(model, wrapper, weights, train, changed)
    if parts:
        train['parts'] = parts
    if str(wrapper.get('type', '')).startswith('Amp'):
        train['amp'] = {'bfloat16': 'bf16'}.get(str(wrapper.get('dtype')), 'fp16')
    if isinstance(wrapper.get('clip_grad'), dict) and wrapper['clip_grad'].get('max_norm'):
        train['grad_clip'] = float(wrapper['clip_grad']['max_norm'])
    if wrapper.get('accumulative_counts', 1) > 1:
        train['accumulate'] = int(wrapper['accumulative_counts'])
    decay = _averaging(config)
    if decay:
        train['ema_decay'] = decay
    train |= _losses(model, network, left_out)
    if model.get('discriminator'):
        raise UserError(
            'a training with a discriminator is not converted',
            value='model.discriminator',
            fix='network_d and gan_opt, as in options/train/RealBasicVSR/train_RealBasicVSR_x4_REDS_QP28.yml',
        )
    return train


def _parts(
    model: dict[str, Any], wrapper: dict[str, Any], weights: dict[str, str], train: dict[str, Any], changed: list[str]
) -> dict[str, dict[str, Any]]:
    """Trained parts: where their weights are, how long they rest, and how slowly they learn."""
    parts: dict[str, dict[str, Any]] = {}
    for part, file in weights.items():
        local = f'{PRETRAINED}/{file.rsplit("/", 1)[-1]}' if '://' in file else file
        parts[part] = {'weights': local}
        if local != file:
            changed.append(f'train.parts.{part}.weights: download {file} to {local}')
    about = model.get('train_cfg') or {}
    resting = about.get('fix_iter')
    if resting:
        for part in weights or {'flow': ''}:
            parts.setdefault(part, {})['freeze'] = int(resting)
    if about.get('tsa_iter'):
        train['tsa_iter'] = int(about['tsa_iter'])
    keys = ((wrapper.get('paramwise_cfg') or {}).get('custom_keys') or {}).items()
    for name, plan in keys:
        factor = plan.get('lr_mult')
        if factor is None or factor == 1:
            continue
        named = NAMED_PARTS.get(str(name))
        if named:
            parts.setdefault(named, {})['lr_mul'] = float(factor)
        else:
            train.setdefault('lr_mul', {})[str(name)] = float(factor)
            changed.append(f'train.lr_mul: {name} there is anywhere in the name of a parameter, here its beginning')
    return parts


def _schedule(given: Any, left_out: list[str]) -> dict[str, Any] | None:
    found = None
    for schedule in given if isinstance(given, list) else [given] if given else []:
        kind = str(schedule.get('type'))
        if kind.startswith('CosineRestart'):
            names = ('periods', 'restart_weights', 'eta_min')
            found = {'type': 'CosineAnnealingRestartLR', **{key: schedule[key] for key in names if key in schedule}}
        elif kind == 'MultiStepLR':
            found = {'type': kind, **{key: schedule[key] for key in ('milestones', 'gamma') if key in schedule}}
        else:
            left_out.append(f'param_scheduler: {kind} is not here')
    return found


def _averaging(config: dict[str, Any]) -> float:
    for hook in config.get('custom_hooks') or []:
        if isinstance(hook, dict) and hook.get('type') == 'ExponentialMovingAverageHook':
            momentum = float((hook.get('interp_cfg') or {}).get('momentum', 0.999))
            return max(momentum, 1 - momentum)  # of the average in older ones, of the weights in newer ones
    return 0.0


def _losses(model: dict[str, Any], network: dict[str, Any], left_out: list[str]) -> dict[str, Any]:
    pixel, cleaning = model.get('pixel_loss'), model.get('cleaning_loss')
    sharp = 'gt_sharp' if model.get('is_use_sharpened_gt_in_pixel') else 'gt'
    if cleaning:
        small = 'gt_sharp_small_area' if sharp == 'gt_sharp' else 'gt_small_area'
        losses = {'l_pix': {**(pixel or {}), 'target': sharp}, 'l_clean': {**cleaning, 'output': 'cleaned'}}
        losses['l_clean']['target'] = small
        return {'losses': {name: loss for name, loss in losses.items() if 'type' in loss}}
    aligned = model.get('lq_pixel_loss')
    if aligned and network['type'] == 'TDAN' and pixel:
        return {'losses': {'l_pix': {**pixel}, 'l_aligned': {**aligned, 'output': 'lrs', 'target': 'lq'}}}
    for key in ('perceptual_loss', 'gan_loss', 'transferal_perceptual_loss'):
        if model.get(key):
            left_out.append(f'model.{key}: add it as train.losses')
    return {'pixel_opt': dict(pixel)} if pixel else {}


def _running(config: dict[str, Any], training: bool) -> dict[str, Any]:
    """Validation, checkpoints and lines of progress."""
    metrics = {}
    for spec in _evaluators(config.get('val_evaluator') or config.get('test_evaluator')):
        name = str(spec.get('type')).lower()
        if name in ('psnr', 'ssim'):
            metrics[name] = {
                'type': f'calculate_{name}',
                'crop_border': int(spec.get('crop_border', 0)),
                'test_y_channel': spec.get('convert_to') == 'Y',
            }
    val: dict[str, Any] = {'metrics': metrics} if metrics else {}
    interval = (config.get('train_cfg') or {}).get('val_interval')
    if training and interval:
        val = {'val_freq': int(interval), **val}
    hooks = config.get('default_hooks') or {}
    saving, logging = hooks.get('checkpoint') or {}, hooks.get('logger') or {}
    logger: dict[str, Any] = {}
    if training and logging.get('interval'):
        logger['print_freq'] = int(logging['interval'])
    if training and saving.get('interval'):
        logger['save_checkpoint_freq'] = int(saving['interval'])
    if training and int(saving.get('max_keep_ckpts', -1)) > 0:
        logger['keep_last'] = int(saving['max_keep_ckpts'])
    return {**({'val': val} if val else {}), **({'logger': logger} if logger else {})}


def _evaluators(given: Any) -> Iterator[dict[str, Any]]:
    if isinstance(given, dict) and 'metrics' in given:
        given = given['metrics']
    for spec in given if isinstance(given, list) else [given] if given else []:
        if isinstance(spec, list):
            yield from _evaluators(spec)
        elif isinstance(spec, dict):
            yield spec
