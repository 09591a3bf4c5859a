"""Weights that were published elsewhere, and what a state_dict tells."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from votes.archs.parts.blocks import count_of
from votes.checkpoint import compare, own_names
from votes.options.outline import shapes_only

Weights = dict[str, Tensor]

# the last part of a variable's name in TensorFlow -> of a parameter's here
_TENSORFLOW = {
    **dict.fromkeys(('kernel', 'weights', 'gamma', 'alpha'), 'weight'),
    **dict.fromkeys(('biases', 'beta', 'bias'), 'bias'),
    'moving_mean': 'running_mean',
    'moving_variance': 'running_var',
}
_AVERAGE = '/ExponentialMovingAverage'


def fitting(build: Callable[..., nn.Module], weights: Weights, **arguments: Any) -> dict[str, Any] | None:
    """`arguments` where `weights` are those of ``build(**arguments)``, every key and every shape; else None.

    Args:
        build: a network's class; the network's ``published_weights`` counts where it has one.
    """
    try:
        with shapes_only():
            net = build(**arguments)
    except (ValueError, RuntimeError):  # no such network: the weights are of something else
        return None
    return None if compare(net.state_dict(), own_names(net, weights)) else arguments


def from_tensorflow(weights: Weights) -> Weights:
    """Variables of a TensorFlow checkpoint as PyTorch has them; weights without a variable among them as they are.

    ``scope/conv/kernel`` (kh, kw, in, out) -> ``scope.conv.weight`` (out, in, kh, kw), transposed convolutions
    (kh, kw, out, in) -> (in, out, kh, kw); slopes (1, 1, C) -> (C,). Of a variable with a moving average that is taken.
    """
    if not any('/' in key for key in weights):
        return weights
    averages = {key.removesuffix(_AVERAGE): value for key, value in weights.items() if key.endswith(_AVERAGE)}
    result = {}
    for key, value in {**weights, **averages}.items():
        *scope, last = key.split('/')
        if last not in _TENSORFLOW:  # counters and moments of the optimiser
            continue
        if last in ('kernel', 'weights') and value.ndim == 4:
            value = value.permute(3, 2, 0, 1).contiguous()
        name = '.'.join(scope)
        result[f'{name}.{_TENSORFLOW[last]}'] = value.flatten() if last == 'alpha' else value
        if last == 'moving_mean':
            result[f'{name}.num_batches_tracked'] = torch.zeros((), dtype=torch.long)
    return result


def renamed(weights: Mapping[str, Tensor], names: Mapping[str, str | None]) -> Weights:
    """A state_dict whose keys begin differently; keys that no pattern fits stay as they are.

    Args:
        names: regular expression of a key's beginning -> what stands in its place (``\\1`` for its first group), None
            for keys to leave out. The first that fits counts.
    """
    found = {}
    for key, value in weights.items():
        new: str | None = key
        for pattern, beginning in names.items():
            match = re.match(pattern, key)
            if match:
                new = None if beginning is None else match.expand(beginning) + key[match.end() :]
                break
        if new is not None:
            found[new] = value
    return found


def size_of(weights: Weights, key: str, dim: int = 0) -> int:
    """Length of a dimension of a tensor that may be missing: 0 where it is."""
    return weights[key].shape[dim] if key in weights and weights[key].ndim > dim else 0


def trunk_of(weights: Mapping[str, Tensor]) -> dict[str, int] | None:
    """Constructor arguments of the trunk that EDVR and VOTES share, told by a state_dict; None where it is no such."""
    first = weights.get('conv_first.weight', weights.get('predeblur.conv_first.weight'))
    layers = {'conv_last.weight', 'conv_hr.weight', 'pcd_align.dcn_pack.l1.conv_offset.weight'}
    if first is None or not layers <= weights.keys():
        return None
    taps = weights['pcd_align.dcn_pack.l1.weight'].shape[2:].numel()
    return {
        'num_in_ch': first.shape[1],
        'num_out_ch': weights['conv_last.weight'].shape[0],
        'num_feat': first.shape[0],
        'deformable_groups': weights['pcd_align.dcn_pack.l1.conv_offset.weight'].shape[0] // (3 * taps),
        'num_extract_block': count_of(weights, 'feature_extraction.'),
        'num_reconstruct_block': count_of(weights, 'reconstruction.'),
    }
