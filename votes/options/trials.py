"""Values that only the things themselves can judge: each is built once, and what it refuses is a problem of a key."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from votes import registry
from votes.errors import first_line
from votes.options.check import ABOUT_LOSSES, Problem, named, specs
from votes.options.schema import Options, Spec
from votes.options.yaml_file import Key


def nan_problems(data: Any, key: Key = ()) -> Iterator[Problem]:
    """Numbers that are none, wherever they stand. (Infinity may be meant.)"""
    items = data.items() if isinstance(data, Mapping) else enumerate(data) if isinstance(data, list | tuple) else ()
    for name, value in items:
        if isinstance(value, float) and math.isnan(value):
            yield (*key, name), 'is not a number (value nan)'
        else:
            yield from nan_problems(value, (*key, name))


def value_problems(opt: Options) -> Iterator[Problem]:
    """What optimisers, schedules and losses refuse to be made with, or do not stand for a step."""
    trials: dict[registry.Registry, Callable[..., Any]] = {
        registry.OPTIMIZERS: _step,
        registry.SCHEDULERS: lambda build, args: build(**args)(1.0, 0),
        registry.LOSSES: lambda build, args: build(**args),
    }
    for key, spec, kind in specs(opt):
        of_own = kind is registry.LOSSES and spec.type not in kind.table
        if kind in trials and not of_own and key != ('train', 'perceptual_opt'):
            yield from _tried(spec, kind, key, trials[kind])


def _step(build: Callable[..., Any], args: dict[str, Any]) -> None:
    weight = torch.zeros(1, requires_grad=True)
    build([weight], **args)
    rate = args.get('lr')
    if isinstance(rate, int | float) and (rate < 0 or math.isinf(rate)):
        raise ValueError(f'Invalid learning rate: {rate}')


def _tried(spec: Spec, kind: registry.Registry, key: Key, trial: Callable[..., Any]) -> Iterator[Problem]:
    """At most one problem: that of the argument without which, or with another of which, all is well."""
    build = named(spec.type, kind)
    args = {name: value for name, value in spec.args.items() if name not in ABOUT_LOSSES}
    if build is None or any(value is None for value in args.values()) or next(nan_problems(args), None):
        return  # told already
    refused = _refused(build, args, trial)
    if refused is None:
        return
    needed = {name for name, p in inspect.signature(build).parameters.items() if p.default is p.empty}
    for name in sorted(args, key=lambda name: name in needed):
        others = {other: value for other, value in args.items() if other != name}
        if _refused(build, others, trial) is None or (name == 'lr' and 'learning rate' in refused):
            yield (*key, name), f'{refused} (value {args[name]!r})'
            return
    yield key, refused


def _refused(build: Callable[..., Any], args: dict[str, Any], trial: Callable[..., Any]) -> str | None:
    try:
        trial(build, args)
    except (ValueError, AssertionError, ArithmeticError) as error:
        return first_line(error)
    except Exception:  # that an argument is missing or of another type has been told; files may not be there yet
        return None
    return None
