"""Networks: an nn.Module and nothing else. Built by name from the options of a YAML file."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from votes.checkpoint import Mismatch, Unfit, load, load_network, read_weights
from votes.errors import UserError, first_line
from votes.registry import NETWORKS


def build_network(options: dict[str, Any]) -> nn.Module:
    """A network from ``{'type': name, **constructor arguments}``.

    Raises:
        UserError: the type is unknown, or an argument is not one of the constructor's.
    """
    arguments = {k: v for k, v in options.items() if k != 'type'}
    cls = NETWORKS.get(options['type'])
    try:
        return cls(**arguments)
    except (TypeError, ValueError, RuntimeError, MemoryError, OverflowError) as error:  # the last three: far too large
        raise UserError(
            f'network {options["type"]} cannot be built', value=first_line(error), where=arguments
        ) from error


def stored_options(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Options of the network in a checkpoint: as stored beside the weights, or told by the class they belong to.

    A network of a user's own (``module:Class``) is imported by its name: its module must be on PYTHONPATH. What is no
    network is never called; the weights tell then.

    Raises:
        UserError: the file cannot be read, or is of a network that is not known here.
    """
    options = load(path).get('network_g')
    if isinstance(options, dict) and isinstance(options.get('type'), str):
        cls = NETWORKS.get(options['type'])
        if isinstance(cls, type) and issubclass(cls, nn.Module):
            return options
    return infer_options(read_weights(path), where=path)


def infer_options(weights: dict[str, Tensor], where: object = None) -> dict[str, Any]:
    """Options of the network whose class says that `weights`, e.g. of a published checkpoint, belong to it.

    Raises:
        UserError: no class does.
    """
    for name in NETWORKS.names():
        tell = getattr(NETWORKS.get(name), 'from_weights', None)
        told = tell(weights) if tell else None
        if told is not None:
            return {'type': name, **told}
    raise UserError(
        'cannot tell which network this checkpoint belongs to',
        where=where,
        value=f'keys: {", ".join(list(weights)[:3])}',
        fix='name it: -opt OPTION_FILE',
    )


def load_weights(
    net: nn.Module, path: str | os.PathLike[str], strict: bool = True, param_key: str | None = None
) -> Mismatch:
    """As `checkpoint.load_network`; of a file that does not fit it is also said which network it is of, and in what
    that differs.
    """
    try:
        return load_network(net, path, strict, param_key)
    except Unfit as error:
        tell = getattr(net, 'from_weights', lambda weights: None)
        own = {'type': type(net).__name__, **(tell(net.state_dict()) or {})}
        try:
            theirs = stored_options(path)
            of_one = NETWORKS.get(theirs['type']) is type(net)
        except UserError:
            raise error from None
        if of_one:  # what is stored lacks the constructor's defaults
            theirs = {'type': own['type'], **(tell(read_weights(path, param_key)) or {})}
        differs = {key: value for key, value in theirs.items() if not of_one or own.get(key) != value}
        if not differs:
            raise
        here = own if of_one else {}
        said = (f'{key} {value}' + (f' (here {here[key]})' if key in here else '') for key, value in differs.items())
        raise UserError(
            error.what,
            where=path,
            value=f'the weights are of another {"size" if of_one else "network"}: {", ".join(said)}',
            fix='name this network in the options, or take weights of the one that is named',
        ) from None


def load_pretrained(path: str, device: str | torch.device = 'cpu') -> nn.Module:
    """A network with its weights from one checkpoint, in evaluation mode.

    The architecture is what this project stored beside the weights, or for a file of the VOTES release or of BasicSR's
    EDVR what the shapes of its tensors tell.
    """
    net = build_network(stored_options(path))
    load_network(net, path)
    return net.to(device).eval()


__all__ = ['build_network', 'infer_options', 'load_pretrained', 'load_weights', 'stored_options']
