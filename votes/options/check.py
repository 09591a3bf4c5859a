"""Checks that need more than one key: constructor signatures, paths, what belongs together."""
from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from votes import registry
from votes.errors import UserError
from votes.options.schema import DatasetOptions, Options, Spec

Key = tuple[str | int, ...]
Problem = tuple[Key, str]

# what the program itself passes
SUPPLIED = {'scale', 'params', 'img', 'img2', 'self'}


def nearest(name: str, known: Iterable[str]) -> str:
    """'; did you mean ...?' for a misspelt name, else ''."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f'; did you mean {near[0]!r}?' if near else ''


def signature_problems(spec: Spec, kind: registry.Registry, key: Key) -> Iterator[Problem]:
    """Arguments against the constructor of what `type` names. Values are converted in place (1e4 to 10000)."""
    try:
        target = kind.get(spec.type)
    except UserError as error:
        yield (*key, 'type'), f'{error.what}; {error.details["fix"]}'
        return
    parameters = dict(inspect.signature(target).parameters)
    if kind is not registry.NETWORKS:
        parameters = {name: p for name, p in parameters.items() if name not in SUPPLIED}
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    for name, value in spec.args.items():
        if name not in parameters:
            yield (*key, name), f'unknown key of {spec.type}{nearest(name, parameters)}'
            continue
        try:
            spec.args[name] = TypeAdapter(hints[name]).validate_python(value) if name in hints else value
        except ValidationError as error:
            first = error.errors()[0]
            yield (*key, name, *first['loc']), f'{first["msg"]} (value {value!r})'
        except (PydanticSchemaGenerationError, PydanticUserError):
            if name == 'lr' and not isinstance(value, int | float):     # torch's hint allows tensors
                yield (*key, name), f'not a number (value {value!r})'
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD and name not in spec.args:
            yield key, f'{spec.type} needs {name!r}'


def all_signature_problems(opt: Options) -> Iterator[Problem]:
    yield from signature_problems(opt.network_g, registry.NETWORKS, ('network_g',))
    for name, data in opt.datasets.items():
        yield from signature_problems(data, registry.DATASETS, ('datasets', name))
    if opt.model_type not in registry.MODELS.table and ':' not in opt.model_type:
        yield ('model_type',), f'unknown (value {opt.model_type!r}); known: {", ".join(registry.MODELS.names())}'
    if opt.train:
        for field, kind in (('optim_g', registry.OPTIMIZERS), ('scheduler', registry.SCHEDULERS), ('pixel_opt', registry.LOSSES)):
            spec = getattr(opt.train, field)
            if spec is not None:
                yield from signature_problems(spec, kind, ('train', field))
    for name, spec in (opt.val.metrics if opt.val else {}).items():
        yield from signature_problems(spec, registry.METRICS, ('val', 'metrics', name))


def _argument(spec: Spec, kind: registry.Registry, name: str) -> Any:
    """An argument as given or by its default; None where there is no such parameter."""
    if name in spec.args:
        return spec.args[name]
    parameter = inspect.signature(kind.get(spec.type)).parameters.get(name)
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def consistency_problems(opt: Options, mode: str) -> Iterator[Problem]:
    """What does not belong together. Called once signatures are right."""
    for name in ('sr_factor', 'scale'):
        network_scale = _argument(opt.network_g, registry.NETWORKS, name)
        if network_scale is not None and network_scale != opt.scale:
            yield ('network_g', name), f'the network enlarges {network_scale} times, scale is {opt.scale}'
    num_frame = _argument(opt.network_g, registry.NETWORKS, 'num_frame')
    for key, data in opt.datasets.items():
        if not key.split('_')[0] in ('train', 'val', 'test'):
            yield ('datasets', key), 'datasets are called train, val, val_2 ..., test, test_1 ...'
        frames = _argument(data, registry.DATASETS, 'num_frame')
        if frames is not None and frames % 2 == 0:
            yield ('datasets', key, 'num_frame'), f'must be odd (value {frames})'
        elif num_frame is not None and frames is not None and frames != num_frame:
            yield ('datasets', key, 'num_frame'), f'is {frames}, the network takes {num_frame} frames'
    if mode == 'train':
        yield from _train_problems(opt)
    elif not any(key != 'train' for key in opt.datasets):
        yield ('datasets',), 'no dataset to test: val or test_1 is needed'


def _train_problems(opt: Options) -> Iterator[Problem]:
    if opt.train is None or 'train' not in opt.datasets:
        for section in ['train'] * (opt.train is None) + ['datasets.train'] * ('train' not in opt.datasets):
            yield (), f'{section}: is missing, training needs it'
        return
    data, train = opt.datasets['train'], opt.train
    gt_size = _argument(data, registry.DATASETS, 'gt_size')
    if gt_size is not None and (gt_size <= 0 or gt_size % (4 * opt.scale)):
        yield ('datasets', 'train', 'gt_size'), f'must be a multiple of 4 * scale = {4 * opt.scale} (value {gt_size})'
    wanted = opt.model_type != 'DSMModel'
    if _argument(data, registry.DATASETS, 'center_gt') is not wanted:
        yield ('datasets', 'train', 'center_gt'), f'{opt.model_type} needs center_gt: {str(wanted).lower()}'
    if train.warmup_iter >= train.total_iter:
        yield ('train', 'warmup_iter'), f'is not shorter than total_iter ({train.warmup_iter}, {train.total_iter})'
    schedule = train.scheduler
    if schedule is not None and 'periods' in schedule.args:
        periods, weights = schedule.args['periods'], schedule.args.get('restart_weights', (1,))
        if len(periods) != len(weights):
            yield ('train', 'scheduler', 'restart_weights'), f'{len(weights)} weights for {len(periods)} periods'
        if sum(periods) < train.total_iter:
            yield ('train', 'scheduler', 'periods'), f'end at {sum(periods)}, total_iter is {train.total_iter}'
    needs_dsm = opt.network_g.type == 'VOTES' and opt.network_g.args.get('dfm', True)
    if needs_dsm and not (opt.path.bin_model or opt.path.pretrain_network_g or opt.path.resume_state):
        yield ('network_g',), 'stage 2 needs the DSM that stage 1 trained: network_g.bin_model (or path.pretrain_network_g)'


def path_problems(opt: Options, mode: str) -> Iterator[Problem]:
    """Files and folders that are not there."""
    for key, data in opt.datasets.items():
        yield from _dataset_path_problems(key, data)
    if mode == 'test' and opt.path.pretrain_network_g is None and 'pretrain_network_g' not in opt.path.model_fields_set:
        yield ('path', 'pretrain_network_g'), 'is missing: which weights are to be tested?'
    for name in ('pretrain_network_g', 'resume_state', 'bin_model'):
        value = getattr(opt.path, name)
        if value and not Path(value).is_file():
            spare = name == 'bin_model' and opt.path.pretrain_network_g
            if spare:       # a whole VOTES holds its DSM
                opt.notices.append(f'bin_model {value} is not there; the DSM of pretrain_network_g is used')
                opt.path.bin_model = None
            else:
                yield ('path', name), f'no such file: {value}{_beside(Path(value))}'


def _dataset_path_problems(key: str, data: DatasetOptions) -> Iterator[Problem]:
    for name in ('dataroot_gt', 'dataroot_lq'):
        value = data.args.get(name)
        if isinstance(value, str) and not Path(value).is_dir():
            yield ('datasets', key, name), f'no such folder: {value}{_beside(Path(value))}'
    for name in ('meta_info_file', 'meta_val_file', 'meta_test_file'):
        value = data.args.get(name)
        if isinstance(value, str) and not Path(value).is_file():
            yield ('datasets', key, name), f'no such file: {value}{_beside(Path(value))}'


def _beside(path: Path) -> str:
    """What stands where the path breaks off."""
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    names = sorted(p.name for p in parent.iterdir())
    near = difflib.get_close_matches(path.name, names, n=3) or names[:3]
    return f' ({parent.absolute()} has {", ".join(near) or "nothing"})'
