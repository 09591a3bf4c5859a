"""Checks that need more than one key: constructor signatures, paths, what belongs together.

They all run on whatever could be read, so that one pass names every problem. A value that could not be read stands
there as None, 0 or ''; checks that need it keep quiet.
"""

from __future__ import annotations

import difflib
import inspect
import typing
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from votes import registry
from votes.errors import UserError, first_line
from votes.options.outline import shapes_only
from votes.options.schema import DatasetOptions, Options, Spec, TrainOptions, ValOptions
from votes.options.yaml_file import Key

Problem = tuple[Key, str]

# what the program itself passes
SUPPLIED = {'scale', 'params', 'img', 'img2', 'self'}
# what a loss entry says besides its constructor's arguments, see models.terms
ABOUT_LOSSES = {'output': str, 'target': str, 'frame': int, 'level': bool, 'from_iter': int, 'until_iter': int}
# keys that people know from elsewhere, and that stand in another section here
MOVED = dict.fromkeys(ValOptions.model_fields, 'val:') | dict.fromkeys(TrainOptions.model_fields, 'train:')
OF_TRAINING = {
    **dict.fromkeys(('optim_g', 'optim_d'), registry.OPTIMIZERS),
    'scheduler': registry.SCHEDULERS,
    **dict.fromkeys(('pixel_opt', 'perceptual_opt', 'gan_opt'), registry.LOSSES),
}


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


def named(name: str, kind: registry.Registry) -> Any:
    """What a name stands for; None where there is no such."""
    try:
        return kind.get(name)
    except UserError:
        return None


def _parameters(spec: Spec, kind: registry.Registry) -> dict[str, inspect.Parameter]:
    """What an option file may say about `spec.type`; nothing where there is no such type."""
    target = named(spec.type, kind)
    supplied = set() if kind is registry.NETWORKS else SUPPLIED
    parameters = inspect.signature(target).parameters if target is not None else {}
    return {name: parameter for name, parameter in parameters.items() if name not in supplied}


def _adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(hint)
    except PydanticSchemaGenerationError:  # torch's hints allow tensors
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))


def signature_problems(spec: Spec, kind: registry.Registry, key: Key, beside: Mapping[str, type]) -> Iterator[Problem]:
    """Arguments against the constructor of what `type` names. Values are converted in place (1e4 to 10000).

    Args:
        beside: further arguments and their types.
    """
    try:
        target = kind.get(spec.type)
    except UserError as error:
        if spec.type:
            yield (*key, 'type'), f'{error.what}; {error.details["fix"]}'
        return
    parameters = _parameters(spec, kind)
    kinds = {parameter.kind for parameter in parameters.values()}
    hints = {**typing.get_type_hints(target.__init__ if inspect.isclass(target) else target), **beside}
    for name, value in list(spec.args.items()):
        if name not in parameters and name not in beside:
            if inspect.Parameter.VAR_KEYWORD not in kinds:
                near = nearest(name, [*parameters, *beside])
                moved = f'; move it to {MOVED[name]}' if name in MOVED and not near else ''
                yield (*key, name), f'unknown key of {spec.type}{near}{moved}'
            continue
        try:
            spec.args[name] = _adapter(hints[name]).validate_python(value) if name in hints else value
        except ValidationError as error:
            spec.args[name] = None
            first = error.errors()[0]
            yield (*key, name, *key_in(value, first['loc'])), f'{first["msg"]} (value {first["input"]!r})'
    for name, parameter in parameters.items():
        of_any_number = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if parameter.default is parameter.empty and not of_any_number and name not in spec.args:
            yield key, f'{spec.type} needs {name!r}'


def specs(opt: Options) -> list[tuple[Key, Spec, registry.Registry]]:
    """Everything that has a ``type:``, and what that names."""
    losses, metrics = opt.train.losses if opt.train else {}, opt.val.metrics if opt.val else {}
    found: list[tuple[Key, Spec | None, registry.Registry]] = [
        (('network_g',), opt.network_g, registry.NETWORKS),
        *((('datasets', name), data, registry.DATASETS) for name, data in opt.datasets.items()),
        (('network_d',), opt.network_d, registry.NETWORKS),
        *((('train', name), getattr(opt.train, name, None), kind) for name, kind in OF_TRAINING.items()),
        *((('train', 'losses', name), spec, registry.LOSSES) for name, spec in losses.items()),
        *((('val', 'metrics', name), spec, registry.METRICS) for name, spec in metrics.items()),
    ]
    return [(key, spec, kind) for key, spec, kind in found if spec is not None]


def all_signature_problems(opt: Options) -> Iterator[Problem]:
    if opt.model_type and opt.model_type not in registry.MODELS.table and ':' not in opt.model_type:
        yield ('model_type',), f'unknown (value {opt.model_type!r}); known: {", ".join(registry.MODELS.names())}'
    for key, spec, kind in specs(opt):
        yield from signature_problems(spec, kind, key, ABOUT_LOSSES if key[:2] == ('train', 'losses') else {})


def _argument(spec: Spec, kind: registry.Registry, name: str) -> Any:
    """An argument as given or by its default; None where there is no such parameter, or none that can be read."""
    parameter = _parameters(spec, kind).get(name)
    default = None if parameter is None or parameter.default is parameter.empty else parameter.default
    return spec.args.get(name, default)


def blueprint(spec: Spec) -> tuple[Any, str | None]:
    """The network that an option file names, without memory for its weights; and what is wrong where it cannot be
    built. Neither where an argument is missing.
    """
    cls = named(spec.type, registry.NETWORKS)
    missing = [name for name, p in _parameters(spec, registry.NETWORKS).items() if p.default is p.empty]
    if cls is None or any(spec.args.get(name) is None and name not in ('args', 'kwargs') for name in missing):
        return None, None
    try:
        with shapes_only(), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # zeros that cannot be initialised are said to be wrong below
            net = cls(**spec.args)
    except (UserError, ValueError, TypeError, ZeroDivisionError, RuntimeError, OverflowError, MemoryError) as error:
        return None, first_line(error)
    empty = next((name for name, p in net.named_parameters() if not p.numel()), None)
    return (net, None) if empty is None else (None, f'{empty} would hold no values')


def consistency_problems(opt: Options, mode: str, buildable: bool = True) -> Iterator[Problem]:
    """What does not belong together.

    Args:
        buildable: nothing is wrong with the arguments of the network.
    """
    net, problem = blueprint(opt.network_g) if buildable else (None, None)
    if problem:
        yield ('network_g',), f'{opt.network_g.type} cannot be built: {problem}'
    if net is not None:
        yield from _network_problems(opt, net)
    for name, data in opt.datasets.items():
        yield from _dataset_problems(('datasets', name), data, net)
        yield from _seen_problems(('datasets', name), data, net)
    if mode == 'train':
        yield from _train_problems(opt, net)
        return
    if all(name == 'train' for name in opt.datasets):
        yield ('datasets',), 'no dataset to test: val or test_1 is needed'
    named = opt.path.parts or opt.path.pretrain_network_g or 'pretrain_network_g' in opt.path.model_fields_set
    if not named:
        yield ('path', 'pretrain_network_g'), 'is missing: which weights are to be tested? (~ for none)'


def _compared(opt: Options, net: Any) -> list[Mapping[str, Any]]:
    """What losses say of the outputs and targets that they compare."""
    losses = opt.train.losses if opt.train else {}
    return [*getattr(net, 'supervised', {}).values(), *(spec.args for spec in losses.values())]


def _network_problems(opt: Options, net: Any) -> Iterator[Problem]:
    """What a network says about itself against the rest of a file."""
    name = type(net).__name__
    if getattr(net, 'sees', None) is None:
        yield ('network_g', 'type'), f'{name} is no network of videos by itself'
        return
    scale = getattr(net, 'scale', 1)
    small = any(str(entry.get('target', '')).startswith('gt_small') for entry in _compared(opt, net))
    if opt.scale and scale != opt.scale and not (scale == 1 and small):
        takes = inspect.signature(type(net)).parameters
        key = next((key for key in ('sr_factor', 'scale', 'upscale') if key in takes), None)
        place: Key = ('network_g', key) if key in opt.network_g.args else ('network_g',)
        fix = f': say network_g.{key}: {opt.scale}, which is {scale} where it is not said' if key else ''
        fix = f': network_g.{key} and scale have to be the same' if len(place) == 2 else fix
        yield place, f'the network enlarges {scale} times, scale is {opt.scale}{fix}'
    parts = getattr(net, 'parts', {})
    if opt.path.bin_model and 'dsm' not in parts:
        yield ('path', 'bin_model'), f'{name} has no DSM inside to load it into'
    named: list[Key] = [('train', 'parts', part) for part in (opt.train.parts if opt.train else ())]
    for place in [*named, *(('path', 'parts', part) for part in opt.path.parts)]:
        part = str(place[-1])
        if part not in parts:
            yield place, f'{name} has no such part{nearest(part, parts)}; it has {", ".join(parts) or "none"}'


def _dataset_problems(key: Key, data: DatasetOptions, net: Any) -> Iterator[Problem]:
    name = str(key[-1])
    if name != 'train' and name.split('_')[0] not in ('val', 'test'):
        yield key, 'datasets are called train, val, val_2 ..., test, test_1 ...'
    frames, sees = data.args.get('num_frame'), getattr(net, 'sees', None)
    wanted, least = getattr(sees, 'frames', None), getattr(sees, 'least', 1)
    if frames is not None and wanted is not None and frames not in (wanted, *([] if name == 'train' else [-1])):
        yield (*key, 'num_frame'), f'is {frames}, the network takes {wanted} frames'
    elif frames is not None and frames < least and frames != -1:
        yield (*key, 'num_frame'), f'is {frames}, the network takes at least {least} frames'
    both = [key for key in ('dataroot_lq', 'degradation') if data.args.get(key)]
    taken = _parameters(data, registry.DATASETS)
    if {'dataroot_lq', 'degradation'} <= taken.keys() and len(both) != 1:
        yield key, f'either dataroot_lq or degradation is needed (there is {" and ".join(both) or "neither"})'
    backend = _argument(data, registry.DATASETS, 'io_backend')
    kind = backend.get('type') if backend is not None and backend.keys() == {'type'} else None
    if backend is not None and kind != 'auto' and (not kind or named(kind, registry.SOURCES) is None):
        stores = '|'.join(['auto', *registry.SOURCES.names()])
        yield (*key, 'io_backend'), f'{{type: {stores}}} is needed, or module:Class (value {backend!r})'


def _seen_problems(key: Key, data: DatasetOptions, net: Any) -> Iterator[Problem]:
    """Which frames a network sees, and what it reads beside them, against what a dataset gives."""
    for said in ('centre', 'pick', 'adjacent'):
        value = data.args.get(said)
        seen = getattr(getattr(net, 'sees', None), said, value)
        if value is not None and value != seen:
            yield (*key, said), f'is {value}, that of the network is {seen}'
    for given, fields in getattr(named(data.type, registry.DATASETS), 'given_by', {}).items():
        needed = [field for field in getattr(net, 'inputs', ()) if field in fields]
        if needed and not data.args.get(given):
            yield key, f'{given} is needed: {type(net).__name__} reads {", ".join(needed)}'
    intervals = data.args.get('interval_list')
    if intervals is not None and (not intervals or min(intervals) < 1):
        yield (*key, 'interval_list'), f'are steps of 1 or more frames (value {intervals})'


def _train_problems(opt: Options, net: Any) -> Iterator[Problem]:
    data, train = opt.datasets.get('train'), opt.train
    if net is not None and not (opt.path.pretrain_network_g or opt.path.resume_state):
        there = {*opt.path.parts, *(['dsm'] if opt.path.bin_model else [])}
        there |= {name for name, plan in train.parts.items() if plan.weights} if train else set()
        for part in getattr(net, 'trained_before', ()):
            if part not in there:
                where = 'network_g.bin_model' if part == 'dsm' else f'train.parts.{part}.weights'
                before = f'needs the {part.upper()} trained in an earlier stage: {where} (or path.pretrain_network_g)'
                yield ('network_g',), before
    if data is None:
        yield ('datasets', 'train'), 'is missing, training needs it'
    else:
        yield from _sample_problems(opt, data, net)
    if train is None:
        yield ('train',), 'is missing, training needs it'
        return
    yield from _loss_problems(train, opt.network_d)
    if net is not None:
        yield from _part_problems(train, net)
    if train.total_iter and train.warmup_iter >= train.total_iter:
        yield ('train', 'warmup_iter'), f'is not shorter than total_iter ({train.warmup_iter}, {train.total_iter})'
    if train.static_graph and train.accumulate > 1:
        yield ('train', 'static_graph'), 'cannot be combined with train.accumulate'
    periods = _argument(train.scheduler, registry.SCHEDULERS, 'periods') if train.scheduler else None
    if periods and sum(periods) < train.total_iter:
        yield ('train', 'scheduler', 'periods'), f'end at {sum(periods)}, total_iter is {train.total_iter}'


def _loss_problems(train: TrainOptions, network_d: Spec | None) -> Iterator[Problem]:
    """Losses by name, and those that a discriminator gives."""
    others = train.pixel_opt or train.perceptual_opt or train.gan_opt
    if not (others or train.losses):
        yield ('train',), 'there is no loss: pixel_opt, or losses'
    spans: list[tuple[int, int]] = []
    adversarial: list[Key] = [('train', 'gan_opt')] if train.gan_opt else []
    for name, spec in train.losses.items():
        loss = named(spec.type, registry.LOSSES)
        if getattr(loss, 'adversarial', False):
            adversarial.append(('train', 'losses', name))
        if getattr(loss, 'compares_average', False) and not train.ema_decay:
            yield ('train', 'losses', name), 'compares with the moving average of the weights: train.ema_decay'
        first, last = spec.args.get('from_iter') or 0, spec.args.get('until_iter')
        if last is not None and last <= first:
            yield ('train', 'losses', name, 'until_iter'), f'is not after from_iter ({first}; value {last})'
        spans.append((first, train.total_iter if last is None else last))
    compared = 0  # up to this iteration something always is
    for first, last in sorted(spans):
        compared = max(compared, last) if first <= compared else compared
    if spans and not others and compared < train.total_iter:
        when = f'after iteration {compared}' if compared else f'in the first {min(spans)[0]} iterations (from_iter)'
        yield ('train', 'losses'), f'nothing is compared {when}'
    for key in adversarial if network_d is None else ():
        yield key, 'needs a discriminator: network_d'
    if network_d is not None and train.optim_d is None:
        yield ('train', 'optim_d'), 'is missing: how the discriminator of network_d is trained'
    if train.grad_clip and train.adaptive_clip:
        yield ('train', 'adaptive_clip'), 'clips in place of grad_clip: one of the two'


def _part_problems(train: TrainOptions, net: Any) -> Iterator[Problem]:
    """Keys that speak of a part, or of parameters, that the network does not have."""
    name, parts = type(net).__name__, getattr(net, 'parts', {})
    if train.tsa_iter > 0 and 'fusion' not in parts:
        yield ('train', 'tsa_iter'), f'{name} has no part fusion that could be trained alone'
    if train.dcn_lr_mul != 1 and 'deformable' not in parts:
        yield ('train', 'dcn_lr_mul'), f'{name} has no part deformable'
    names = [parameter for parameter, _ in net.named_parameters()]
    for start in train.lr_mul:
        if not any(parameter.startswith(start) for parameter in names):
            near = nearest(start, {f'{parameter.split(".")[0]}.' for parameter in names})
            yield ('train', 'lr_mul', start), f'no parameter of {name} begins so{near}'


def _sample_problems(opt: Options, data: DatasetOptions, net: Any) -> Iterator[Problem]:
    """Training samples against what the network sees and what the losses compare."""
    key: Key = ('datasets', 'train')
    step = getattr(net, 'multiple', 1) * opt.scale
    gt_size = _argument(data, registry.DATASETS, 'gt_size')
    if gt_size is not None and step and (gt_size <= 0 or gt_size % step):
        yield (*key, 'gt_size'), f'must be a multiple of {step // opt.scale} * scale = {step} (value {gt_size})'
    stored = data.args.get('dataroot_dfm')
    read = (*getattr(net, 'optional', ()), *getattr(net, 'inputs', ()))
    if stored and ('difference' not in read or data.args.get('degradation')):
        name = opt.network_g.type
        yield (*key, 'dataroot_dfm'), f'{name} reads no degradation map of its own, or frames are not stored ones'
    if net is None or data.args.get('center_gt') is not True:
        return
    apart = any(entry.get('frame') for entry in _compared(opt, net))
    if apart or getattr(getattr(net, 'sees', None), 'frames', None) is None:
        yield (*key, 'center_gt'), f'{type(net).__name__} is compared with more than the centre frame: center_gt: false'
