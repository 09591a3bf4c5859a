"""Networks: an nn.Module and nothing else. Built by name from the options of a YAML file."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from votes.archs.infer import infer_options
from votes.checkpoint import load, load_network, read_weights
from votes.errors import UserError
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
    except (TypeError, ValueError) as error:
        raise UserError(f'network {options["type"]} cannot be built', value=error, where=arguments) from error


def stored_options(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Options of the network in a checkpoint, as stored beside the weights or told by their shapes.

    Raises:
        UserError: the file cannot be read, or is of a network that is not known here.
    """
    options = load(path).get('network_g')
    if not isinstance(options, dict) or options.get('type') not in NETWORKS.table:
        # a name from outside the registry would import what a file says: such networks are built from option files
        options = infer_options(read_weights(path), where=path)
    return options


def load_pretrained(path: str, device: str | torch.device = 'cpu') -> nn.Module:
    """A network with its weights from one checkpoint, in evaluation mode.

    The architecture is what this project stored beside the weights, or for a file of the VOTES release or of BasicSR's
    EDVR what the shapes of its tensors tell.
    """
    net = build_network(stored_options(path))
    load_network(net, path)
    return net.to(device).eval()


__all__ = ['build_network', 'infer_options', 'load_pretrained', 'stored_options']
