"""Checks that need more than one key: constructor signatures, paths, what belongs together.

They all run on whatever could be read, so that one pass names every problem. A value that could not be read stands
there as None, 0 or ''; checks that need it keep quiet.
"""

from __future__ import annotations

import difflib
import inspect
import itertools
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from votes import registry
from votes.errors import UserError
from votes.options.habits import LISTS
from votes.options.schema import DatasetOptions, Options, Spec
from votes.options.yaml_file import Key

Problem = tuple[Key, str]

# what the program itself passes
IO_BACKENDS = ('auto', 'disk', 'lmdb', 'packed', 'video', 'yuv')  # of votes/data/open_source.py
SUPPLIED = {'scale', 'params', 'img', 'img2', 'self'}


def nearest(name: str, known: Iterable[str]) -> str:
    """'; did you mean ...?' for a misspelt name, else ''."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.65)
    return f'; did you mean {near[0]!r}?' if near else ''


def key_in(data: Any, loc: Iterable[Any]) -> Key:
    """pydantic's location without the names that it gives to alternatives of a type."""
    key: list[str | int] = []
    for part in loc:
        if (isinstance(data, dict) and part in data) or (isinstance(data, list) and isinstance(part, int)):
            key.append(part)
            data = data[part]
    return tuple(key)


def _parameters(spec: Spec, kind: registry.Registry) -> dict[str, inspect.Parameter]:
    """What an option file may say about `spec.type`.

    Raises:
        UserError: there is no such type.
    """
    supplied = set() if kind is registry.NETWORKS else SUPPLIED
    return {name: p for name, p in inspect.signature(kind.get(spec.type)).parameters.items() if name not in supplied}


def _adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(hint)
    except PydanticSchemaGenerationError:  # torch's hints allow tensors
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))


def signature_problems(spec: Spec, kind: registry.Registry, key: Key) -> Iterator[Problem]:
    """Arguments against the constructor of what `type` names. Values are converted in place (1e4 to 10000)."""
    try:
        parameters = _parameters(spec, kind)
    except UserError as error:
        if spec.type:
            yield (*key, 'type'), f'{error.what}; {error.details["fix"]}'
        return
    target = kind.get(spec.type)
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    for name, value in list(spec.args.items()):
        if name not in parameters:
            if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
                continue
            yield (*key, name), f'unknown key of {spec.type}{nearest(name, parameters)}'
            continue
        try:
            spec.args[name] = _adapter(hints[name]).validate_python(value) if name in hints else value
        except ValidationError as error:
            spec.args[name] = None
            first = error.errors()[0]
            yield (*key, name, *key_in(value, first['loc'])), f'{first["msg"]} (value {first["input"]!r})'
    for name, parameter in parameters.items():
        optional = parameter.default is not parameter.empty or parameter.kind in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        )
        if not optional and name not in spec.args:
            yield key, f'{spec.type} needs {name!r}'


def all_signature_problems(opt: Options) -> Iterator[Problem]:
    """Everything that has a ``type:``."""
    yield from signature_problems(opt.network_g, registry.NETWORKS, ('network_g',))
    for name, data in opt.datasets.items():
        yield from signature_problems(data, registry.DATASETS, ('datasets', name))
    if opt.model_type and opt.model_type not in registry.MODELS.table and ':' not in opt.model_type:
        yield ('model_type',), f'unknown (value {opt.model_type!r}); known: {", ".join(registry.MODELS.names())}'
    if opt.train:
        for field, kind in (
            ('optim_g', registry.OPTIMIZERS),
            ('scheduler', registry.SCHEDULERS),
            ('pixel_opt', registry.LOSSES),
        ):
            spec = getattr(opt.train, field)
            if spec is not None:
                yield from signature_problems(spec, kind, ('train', field))
    for name, spec in (opt.val.metrics if opt.val else {}).items():
        yield from signature_problems(spec, registry.METRICS, ('val', 'metrics', name))


def _argument(spec: Spec, kind: registry.Registry, name: str) -> Any:
    """An argument as given or by its default; None where there is no such parameter, or none that can be read."""
    try:
        parameter = _parameters(spec, kind).get(name)
    except UserError:
        return None
    default = None if parameter is None or parameter.default is parameter.empty else parameter.default
    return spec.args.get(name, default)


def consistency_problems(opt: Options, mode: str) -> Iterator[Problem]:
    """What does not belong together."""
    for name in ('sr_factor', 'scale'):
        network_scale = _argument(opt.network_g, registry.NETWORKS, name)
        if opt.scale and network_scale is not None and network_scale != opt.scale:
            yield ('network_g', name), f'the network enlarges {network_scale} times, scale is {opt.scale}'
    for name, data in opt.datasets.items():
        yield from _dataset_problems(opt, ('datasets', name), data)
    if opt.path.bin_model and opt.network_g.type in ('BIN', 'EDVR'):
        yield ('path', 'bin_model'), f'{opt.network_g.type} has no DSM inside to load it into'
    if mode == 'train':
        yield from _train_problems(opt)
        return
    if all(name == 'train' for name in opt.datasets):
        yield ('datasets',), 'no dataset to test: val or test_1 is needed'
    if opt.path.pretrain_network_g is None and 'pretrain_network_g' not in opt.path.model_fields_set:
        yield ('path', 'pretrain_network_g'), 'is missing: which weights are to be tested? (~ for none)'


def _dataset_problems(opt: Options, key: Key, data: DatasetOptions) -> Iterator[Problem]:
    name = str(key[-1])
    if name != 'train' and name.split('_')[0] not in ('val', 'test'):
        yield key, 'datasets are called train, val, val_2 ..., test, test_1 ...'
    frames = _argument(data, registry.DATASETS, 'num_frame')
    wanted = _argument(opt.network_g, registry.NETWORKS, 'num_frame')
    if frames is not None and (frames % 2 == 0 or frames < 1):
        yield (*key, 'num_frame'), f'must be odd (value {frames})'
    elif None not in (frames, wanted) and frames != wanted:
        yield (*key, 'num_frame'), f'is {frames}, the network takes {wanted} frames'
    both = [key for key in ('dataroot_lq', 'degradation') if data.args.get(key)]
    if data.type in ('UVSSMDataset', 'REDSDataset') and len(both) != 1:
        yield key, f'either dataroot_lq or degradation is needed (there is {" and ".join(both) or "neither"})'
    backend = _argument(data, registry.DATASETS, 'io_backend')
    if backend is not None and (backend.keys() != {'type'} or backend['type'] not in IO_BACKENDS):
        yield (*key, 'io_backend'), f'{{type: {"|".join(IO_BACKENDS)}}} is needed (value {backend!r})'


def _train_problems(opt: Options) -> Iterator[Problem]:
    data, train, registered = opt.datasets.get('train'), opt.train, opt.model_type in registry.MODELS.table
    stage1 = opt.model_type == 'DSMModel'
    if registered and opt.network_g.type in registry.NETWORKS.table and stage1 != (opt.network_g.type == 'BIN'):
        yield ('network_g', 'type'), f'{opt.model_type} does not train {opt.network_g.type}: DSMModel trains BIN'
    needs_dsm = opt.network_g.type == 'VOTES' and _argument(opt.network_g, registry.NETWORKS, 'dfm')
    if needs_dsm and not (opt.path.bin_model or opt.path.pretrain_network_g or opt.path.resume_state):
        yield (
            ('network_g',),
            'stage 2 needs the DSM trained in stage 1: network_g.bin_model (or path.pretrain_network_g)',
        )
    if data is None:
        yield ('datasets', 'train'), 'is missing, training needs it'
    else:
        gt_size = _argument(data, registry.DATASETS, 'gt_size')
        if gt_size is not None and opt.scale and (gt_size <= 0 or gt_size % (4 * opt.scale)):
            yield (
                ('datasets', 'train', 'gt_size'),
                f'must be a multiple of 4 * scale = {4 * opt.scale} (value {gt_size})',
            )
        if data.args.get('dataroot_dfm') and (not needs_dsm or data.args.get('degradation')):
            yield (
                ('datasets', 'train', 'dataroot_dfm'),
                'only VOTES looks at degradation maps, and only stored frames have some',
            )
        center_gt = _argument(data, registry.DATASETS, 'center_gt')
        if registered and center_gt is stage1:
            yield ('datasets', 'train', 'center_gt'), f'{opt.model_type} needs center_gt: {str(not stage1).lower()}'
    if train is None:
        yield ('train',), 'is missing, training needs it'
        return
    if train.total_iter and train.warmup_iter >= train.total_iter:
        yield ('train', 'warmup_iter'), f'is not shorter than total_iter ({train.warmup_iter}, {train.total_iter})'
    if train.static_graph and train.accumulate > 1:
        yield ('train', 'static_graph'), 'cannot be combined with train.accumulate'
    if train.scheduler is not None:
        yield from _schedule_problems(train.scheduler, train.total_iter)


def _schedule_problems(schedule: Spec, total_iter: int) -> Iterator[Problem]:
    key = ('train', 'scheduler')
    periods, weights, steps = (
        _argument(schedule, registry.SCHEDULERS, name) for name in ('periods', 'restart_weights', 'milestones')
    )
    if periods is not None:
        if weights is not None and len(periods) != len(weights):
            yield (*key, 'restart_weights'), f'{len(weights)} weights for {len(periods)} periods'
        if min(periods, default=0) < 1:
            yield (*key, 'periods'), f'are lengths of 1 or more iterations (value {periods})'
        elif sum(periods) < total_iter:
            yield (*key, 'periods'), f'end at {sum(periods)}, total_iter is {total_iter}'
    if steps is not None and any(a >= b for a, b in itertools.pairwise(steps)):
        yield (*key, 'milestones'), f'must increase (value {steps})'


def drop_spare_dsm(opt: Options, mode: str) -> list[str]:
    """Forgets a `bin_model` that is not there where it is not needed. Returns notices."""
    path = opt.path
    if not path.bin_model or Path(path.bin_model).is_file():
        return []
    if mode == 'test' or path.pretrain_network_g or path.resume_state:
        reason = 'the DSM is taken from the weights of the whole network'
    elif _argument(opt.network_g, registry.NETWORKS, 'dfm') is False:
        reason = 'dfm: false needs none'
    else:
        return []
    notice = f'bin_model {path.bin_model} is not there: {reason}'
    path.bin_model = None
    return [notice]


def path_problems(opt: Options, mode: str) -> Iterator[Problem]:
    """Files and folders that are not there, of datasets that `mode` uses."""
    for key, data in opt.datasets.items():
        if key == 'train' and mode == 'test':
            continue
        for name in ('dataroot_gt', 'dataroot_lq', 'codec_metadata'):
            value = data.args.get(name)
            if isinstance(value, str) and not Path(value).is_dir():
                yield ('datasets', key, name), f'no such folder: {value}{_beside(Path(value))}'
        for name in (*LISTS, 'degradation'):
            value = data.args.get(name)
            for file in [value] if isinstance(value, str) else value or []:
                if not Path(file).is_file():
                    yield ('datasets', key, name), f'no such file: {file}{_beside(Path(file))}'
    for name in ('pretrain_network_g', 'resume_state', 'bin_model'):
        value = getattr(opt.path, name)
        if value and not Path(value).is_file():
            yield ('path', name), f'no such file: {value}{_beside(Path(value))}'


def _beside(path: Path) -> str:
    """What stands where the path breaks off."""
    while not path.parent.is_dir() and path != path.parent:
        path = path.parent
    try:
        names = sorted(p.name for p in path.parent.iterdir())
    except OSError:
        return ''
    near = difflib.get_close_matches(path.name, names, n=3) or names[:3]
    return f' ({path.parent.absolute()} has {", ".join(near) or "nothing"})'
