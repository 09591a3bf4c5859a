"""Adam's moments, which optimizers keep by the numbers of parameters, by the names that these have here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from votes import checkpoint
from votes.errors import UserError

FIELDS = ('exp_avg', 'exp_avg_sq')
# BasicSR's networks with two groups: what the names of the second group's parameters contain
SECOND = ('dcn', 'spynet', 'edvr')


def renamed(weights: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Weights of a network elsewhere under the names of `net`.

    Raises:
        UserError: they are of another network.
    """
    expected = net.state_dict()
    found = checkpoint.own_names(net, dict(weights))
    mismatch = checkpoint.compare(expected, found)
    if mismatch:
        raise UserError(
            f'these weights are not of this {type(net).__name__}\n{mismatch}', value=f'{len(found)} tensors'
        )
    return {name: found[name].detach().clone() for name in expected}


def moments_of(
    weights: Mapping[str, Tensor], state: dict[str, Any], net: nn.Module, sorted_names: bool = False
) -> tuple[dict[str, dict[str, Tensor]], str | None]:
    """What an Adam knows of each parameter, by its name in `net`: 'step', 'exp_avg', 'exp_avg_sq'.

    Args:
        weights: state_dict of the network there, in its order.
        state: state_dict of the optimizer there.
        sorted_names: the order of `weights` says nothing: parameters are in the order of `net`.

    Returns:
        The moments, those of parameters that were trained; and why there are none, where they cannot be told.
    """
    try:
        groups = [[int(number) for number in group['params']] for group in state['param_groups']]
        known = {int(number): entry for number, entry in state['state'].items()}
    except (KeyError, TypeError, ValueError):
        return {}, 'the file holds no state of an optimizer'
    if known and not all(set(FIELDS) <= entry.keys() for entry in known.values()):
        return {}, 'they are not those of Adam'
    names = _order(weights, net, sorted_names)
    for numbered in _arrangements(names, groups):
        if all(_shape(known.get(number)) in (None, weights[name].shape) for number, name in numbered.items()):
            return _by_name(weights, numbered, known, net), None
    return {}, f'they are of {sum(map(len, groups))} parameters in other groups, the network has {len(names)}'


def _shape(entry: dict[str, Tensor] | None) -> torch.Size | None:
    return None if entry is None else entry['exp_avg'].shape


def _order(weights: Mapping[str, Tensor], net: nn.Module, by_own: bool) -> list[str]:
    """The names there of what is a parameter here, in the order in which a module numbers its parameters: that of
    `weights`, or of `net`.
    """
    marked = {name: torch.full((), number).expand(value.shape) for number, (name, value) in enumerate(weights.items())}
    own = checkpoint.own_names(net, dict(marked))
    numbers = [int(own[name].reshape(-1)[0]) for name, _ in net.named_parameters() if name in own]
    listed = list(weights)
    return [listed[number] for number in (numbers if by_own else sorted(numbers))]


def _arrangements(names: list[str], groups: list[list[int]]) -> list[dict[int, str]]:
    """How groups of numbered parameters may belong to names: in order, or with those of some part in a second group."""
    found = []
    flat = [number for group in groups for number in group]
    if len(flat) == len(names):
        found.append(dict(zip(flat, names, strict=True)))
    for part in SECOND:
        split = [[name for name in names if part not in name], [name for name in names if part in name]]
        if list(map(len, split)) == list(map(len, groups)) and all(split):
            found.insert(0, dict(zip(flat, [*split[0], *split[1]], strict=True)))
    return found


def _by_name(
    weights: Mapping[str, Tensor], numbered: dict[int, str], known: dict[int, dict[str, Tensor]], net: nn.Module
) -> dict[str, dict[str, Tensor]]:
    """Moments go through the same renaming as weights do."""
    trained = {name: known[number] for number, name in numbered.items() if number in known}
    fields = {}
    for field in FIELDS:
        there = {name: trained[name][field].float() if name in trained else value for name, value in weights.items()}
        fields[field] = checkpoint.own_names(net, dict(there))
    steps = {name: torch.zeros_like(value, dtype=torch.float32) - 1 for name, value in weights.items()}
    for name, entry in trained.items():
        steps[name] = torch.full_like(weights[name], float(entry.get('step', 0)), dtype=torch.float32)
    own_steps = checkpoint.own_names(net, dict(steps))
    found = {}
    for name, parameter in net.named_parameters():
        step = float(own_steps[name].reshape(-1)[0])
        if step < 0 or any(fields[field][name].shape != parameter.shape for field in FIELDS):
            continue
        found[name] = {'step': torch.tensor(step), **{field: fields[field][name].clone() for field in FIELDS}}
    return found
