"""Option files of traiNNer-redux: BasicSR's words with names in lower case, losses in a list, precision at the top."""

from __future__ import annotations

import copy
from typing import Any

from votes.migrate.basicsr import pictures
from votes.options.foreign import OF_REDUX
from votes.registry import DATASETS, LOSSES, NETWORKS, OPTIMIZERS, SCHEDULERS, Registry

# its names of networks that are here, and what they are made of
NETWORK = {
    'esrgan': ('RRDBNet', {}),
    'esrgan_lite': ('RRDBNet', {'num_feat': 32, 'num_block': 12}),
    'unetdiscriminatorsn': ('UNetDiscriminatorSN', {'num_in_ch': 3, 'num_feat': 64}),
}
# of RRDBNet, which it takes from spandrel
ARGUMENTS = {
    'num_filters': 'num_feat',
    'num_blocks': 'num_block',
    'in_nc': 'num_in_ch',
    'out_nc': 'num_out_ch',
    'num_grow_ch': 'num_grow_ch',
}
LOSS = {
    'l1loss': 'L1Loss',
    'mseloss': 'MSELoss',
    'charbonnierloss': 'CharbonnierLoss',
    'huberloss': 'HuberLoss',
    'ganloss': 'GANLoss',
    'multiscaleganloss': 'MultiScaleGANLoss',
}
# of the keys at the top, without a place here
IDLE = {
    *OF_REDUX,
    *('amp_bf16', 'compile_mode', 'detect_anomaly', 'watch', 'auto_resume', 'is_train', 'dist', 'rank', 'world_size'),
    *('root_path', 'launcher', 'onnx', 'contents'),
}
MOA = ('use_moa', 'moa_augs', 'moa_probs', 'moa_debug', 'moa_debug_limit')
OF_VALIDATION = ('val_enabled', 'metrics_enabled', 'tile_size', 'tile_overlap', 'pbar')


def converted(data: dict[str, Any]) -> tuple[str, dict[str, Any], list[str], list[str]]:
    """A file of traiNNer-redux -> mode, options, what changed, what is left out; see files.Migrated."""
    options = copy.deepcopy(data)
    changed: list[str] = []
    left_out: list[str] = []
    options['model_type'] = 'RestorationModel'
    datasets = options.get('datasets') or {}
    training = 'train' in datasets or 'optim_g' in (options.get('train') or {})
    if options.get('high_order_degradation'):
        left_out.append('high_order_degradation: LQ is stored or made by recipes (datasets.train.degradation)')
    accumulate = 1
    for name, section in datasets.items():
        if not isinstance(section, dict):
            continue
        section['type'] = _named(str(section.get('type')), DATASETS)
        accumulate = max(accumulate, int(section.pop('accum_iter', 1) or 1))
        _sizes(name, section, int(options.get('scale', 1)))
        if section['type'].lower() == 'pairedimagedataset':
            left_out += pictures(f'datasets.{name}', section, name == 'train')
            changed.append(f'datasets.{name}: each picture is a clip of one frame')
        for key in ('prefetch_factor', 'phase', 'scale'):
            section.pop(key, None)
    for key in ('network_g', 'network_d'):
        if isinstance(options.get(key), dict):
            options[key] = _network(options[key], int(options.get('scale', 1)))
    train = options.get('train')
    if isinstance(train, dict) and training:
        _train(options, train, accumulate, changed, left_out)
    if options.get('network_d') is not None and _unknown(str(options['network_d'].get('type'))):
        left_out.append(f'network_d: {options["network_d"]["type"]} is not here, UNetDiscriminatorSN is in its place')
        options['network_d'] = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 64}
    _validation(options)
    for key in IDLE & options.keys():
        del options[key]
    logger = options.get('logger')
    if isinstance(logger, dict):
        logger.pop('save_checkpoint_format', None)
    return 'train' if training else 'test', options, changed, left_out


def _named(name: str, kind: Registry) -> str:
    """The entry of a registry with this name, whatever its case; the name itself where there is none."""
    return next((known for known in kind.table if known.lower() == name.lower()), name)


def _unknown(name: str) -> bool:
    return name not in NETWORKS.table and ':' not in name


def _sizes(name: str, section: dict[str, Any], scale: int) -> None:
    """Its crops are counted in pixels of LQ."""
    small = section.pop('lq_size', None)
    if small and section.get('gt_size') is None:
        section['gt_size'] = int(small) * scale
    if name != 'train':
        for key in ('gt_size', 'use_hflip', 'use_rot', 'num_worker_per_gpu', 'batch_size_per_gpu'):
            section.pop(key, None)
    ratio = section.get('dataset_enlarge_ratio')
    if ratio == 'auto' or ratio is None:
        section.pop('dataset_enlarge_ratio', None)


def _network(given: dict[str, Any], scale: int) -> dict[str, Any]:
    """A network by its name there. RRDBNet of scales 1 and 2 unshuffles pixels here, as there where it is asked to."""
    name, told = NETWORK.get(str(given.get('type')), (_named(str(given.get('type')), NETWORKS), {}))
    arguments = {ARGUMENTS.get(key, key): value for key, value in given.items() if key != 'type'}
    if name == 'RRDBNet':
        if arguments.get('use_pixel_unshuffle', True) or scale > 2:
            arguments.pop('use_pixel_unshuffle', None)  # else it stays, and is refused: that network is another
        arguments['scale'] = scale
    return {'type': name, **told, **arguments}


def _train(
    options: dict[str, Any], train: dict[str, Any], accumulate: int, changed: list[str], left_out: list[str]
) -> None:
    if options.get('use_amp'):
        train['amp'] = 'bf16' if options.get('amp_bf16') else 'fp16'
    if options.get('use_compile'):
        train['compile'] = True
    if options.get('use_channels_last') is False:
        train['channels_last'] = False
    options.pop('use_channels_last', None)
    if accumulate > 1:
        train['accumulate'] = accumulate
    if train.pop('grad_clip', False):
        train['grad_clip'] = 1.0
        changed.append('train.grad_clip: true there is a largest norm of 1')
    for key in ('optim_g', 'optim_d'):
        if isinstance(train.get(key), dict):
            train[key]['type'] = _named(str(train[key].get('type')), OPTIMIZERS)
    if isinstance(train.get('scheduler'), dict):
        train['scheduler']['type'] = _named(str(train['scheduler'].get('type')), SCHEDULERS)
    if train.pop('use_moa', False):
        left_out.append('train.use_moa: pictures are cropped, mirrored and turned, not mixed')
    for key in MOA:
        train.pop(key, None)
    listed = train.pop('losses', None)
    if isinstance(listed, list):
        train['losses'] = _losses(listed, left_out)
        if not any(loss['type'] == 'GANLoss' for loss in train['losses'].values()):
            options.pop('network_d', None)
            train.pop('optim_d', None)


def _losses(listed: list[Any], left_out: list[str]) -> dict[str, Any]:
    """Losses by name; those of weight 0 are none."""
    found: dict[str, Any] = {}
    missing = []
    for loss in listed:
        if not isinstance(loss, dict) or not loss.get('loss_weight', 1):
            continue
        given = str(loss.get('type'))
        name = LOSS.get(given.lower(), _named(given, LOSSES))
        if name not in LOSSES.table or name == 'PerceptualLoss':
            missing.append(given)
            continue
        key = f'l_{name.removesuffix("Loss").lower()}'
        found[key if key not in found else f'{key}_{len(found)}'] = {**loss, 'type': name}
    if missing:
        left_out.append(f'train.losses: {", ".join(missing)} {"is" if len(missing) == 1 else "are"} not here')
    return found


def _validation(options: dict[str, Any]) -> None:
    val = options.get('val')
    if not isinstance(val, dict):
        return
    if not val.get('metrics_enabled', True):
        val.pop('metrics', None)
    for key in OF_VALIDATION:
        val.pop(key, None)
    metrics = val.get('metrics')
    if isinstance(metrics, dict):
        known = {'calculate_psnr', 'calculate_ssim', 'calculate_ms_ssim'}
        val['metrics'] = {name: spec for name, spec in metrics.items() if spec.get('type') in known}
        if not val['metrics']:
            del val['metrics']
