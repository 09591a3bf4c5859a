"""A network as one or two graphs: functions of tensors alone, for frames of any size.

Windows and clips are one graph with as many frames as it was exported for. A Causal network is two: of a clip's first
frame, which begins a state, and of every further one, which takes the state and gives the next.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from votes.archs.contract import Causal, Clip, Frame, Promise, Window, luma_of, promise
from votes.archs.fields import FIELDS
from votes.errors import UserError
from votes.ops.exporting import Form, exporting

CLIP = 7  # frames of a clip, where nothing is said
SIDES = ((64, 80), (80, 48))  # the graph is traced with the first, and tried with both
VERSION = 1
EXPORTERS = ('torch', 'onnxscript', 'onnx_ir')


@dataclass
class Graph:
    """
    Attributes:
        name: 'whole', 'first' or 'step'.
        program: what torch.export made.
        inputs, outputs: names, in order: 'frames', fields, 'state_0' ...; 'out', 'next_0' ...
        call: the same by the network itself, of tensors as `inputs` say.
    """

    name: str
    program: Any
    inputs: list[str]
    outputs: list[str]
    call: nn.Module


@dataclass
class Exported:
    """Graphs of a network, and what a program that runs them must know (JSON).

    Attributes:
        about: 'version', 'network', 'sees', 'scale', 'multiple', 'smallest', 'channels', 'inputs', 'frames', 'states'.
        trials: inputs of each graph by its name, for either of SIDES.
    """

    graphs: list[Graph]
    about: dict[str, Any]
    trials: dict[str, list[list[Tensor]]] = field(default_factory=dict)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporters of PyTorch write for its authors: notes on operators, whole graphs where one fails."""
    names = [name for name in (*EXPORTERS, *logging.root.manager.loggerDict) if name.partition('.')[0] in EXPORTERS]
    before = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    for logger in before:  # those below others have levels of their own
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)


class Whole(nn.Module):
    """Frames and fields -> the restored frames."""

    def __init__(self, net: nn.Module, fields: tuple[str, ...]):
        super().__init__()
        self.net, self.fields = net, fields

    def forward(self, frames: Tensor, *fields: Tensor) -> Tensor:
        result = self.net(frames, **_arguments(self.net, dict(zip(self.fields, fields, strict=True))))
        out: Tensor = result['out'] if isinstance(result, Mapping) else result
        return out


class Step(nn.Module):
    """Frames, fields and the tensors of a state -> a restored frame and the tensors of the next state.

    Args:
        spec: how a state is made of tensors; None for a clip's first frame.
    """

    def __init__(self, net: nn.Module, fields: tuple[str, ...], spec: TreeSpec | None):
        super().__init__()
        self.net, self.fields, self.spec = net, fields, spec

    def forward(self, frames: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        fields = dict(zip(self.fields, rest, strict=False))
        state = None if self.spec is None else tree_unflatten(list(rest[len(self.fields) :]), self.spec)
        result, after = self.net.step(frames, state, **_arguments(self.net, fields))  # type: ignore[operator]
        out = result['out'] if isinstance(result, Mapping) else result
        return out, *tree_flatten(after)[0]


def _arguments(net: nn.Module, fields: dict[str, Tensor]) -> Mapping[str, Any]:
    convert = getattr(net, 'arguments', None)
    found: Mapping[str, Any] = convert(fields) if convert else fields
    return found


def exported(net: nn.Module, options: Mapping[str, Any], form: Form, frames: int | None = None) -> Exported:
    """The graphs of a network.

    Args:
        net: on the CPU, with its weights.
        options: ``{'type': name, ...}`` of the network.
        form: how deformable convolutions are written.
        frames: of the clips that a network of clips is exported for.

    Raises:
        UserError: it cannot be exported, with what PyTorch said.
    """
    net = net.float().eval().requires_grad_(False)
    said = promise(net)
    count = said.frames(frames or CLIP) if isinstance(said.sees, Clip) else said.frames()
    sides = [tuple(-(-max(side, said.smallest) // said.multiple) * said.multiple for side in pair) for pair in SIDES]
    samples = [inputs_of(said, count, (height, width)) for height, width in sides]
    about = {
        'version': VERSION,
        'network': dict(options),
        'sees': _sees(said, count),
        'scale': said.scale,
        'multiple': said.multiple,
        'smallest': said.smallest,
        'channels': said.channels,
        'inputs': list(said.inputs),
        'frames': count,
        'states': 0,
    }
    found = Exported([], about)
    try:
        with torch.no_grad(), exporting(form), quiet():
            _trace(net, said, samples, found)
    except UserError:
        raise
    except Exception as error:  # of whatever torch.export meets in a network
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f'{said.name} cannot be exported', value=lines[0][:200], fix='`votes restore` runs it as it is'
        ) from error
    bounds = [_least(graph.program) for graph in found.graphs]
    about['smallest'] = max(said.smallest, *bounds)
    return found


def inputs_of(said: Promise, count: int, size: tuple[int, int]) -> list[Tensor]:
    """Smooth random frames and the fields that a network reads, as its `forward` takes them."""
    draw = torch.Generator().manual_seed(size[0])
    coarse = torch.rand(count, 3, max(2, size[0] // 8), max(2, size[1] // 8), generator=draw)
    frames = nn.functional.interpolate(coarse, size, mode='bilinear', align_corners=False).unsqueeze(0)
    if said.channels == 'luma':
        frames = luma_of(frames)
    found = [frames]
    for name in said.inputs:
        kind = FIELDS[name]
        shape = (1, count, 2 if kind.kind == 'vectors' else 1, *size) if kind.spatial else (1, count)
        value = torch.rand(shape, generator=draw) * (4 if kind.kind == 'vectors' else 1)
        found.append(
            torch.full(shape, float(ord('P')))
            if name == 'pict_type'
            else value.round()
            if kind.kind == 'map'
            else value
        )
    if isinstance(said.sees, Frame):
        found = [value[:, 0] for value in found]
    return found


def _trace(net: nn.Module, said: Promise, samples: list[list[Tensor]], found: Exported) -> None:
    names = ['frames', *said.inputs]
    if not isinstance(said.sees, Causal):
        call = Whole(net, said.inputs)
        found.graphs.append(Graph('whole', _program(call, samples[0], samples[1]), names, ['out'], call))
        found.trials['whole'] = samples
        return
    first = Step(net, said.inputs, None)
    seen = said.sees.look_ahead + 1
    samples = [[value[:, :1].repeat(1, seen, *[1] * (value.dim() - 2)) for value in sample] for sample in samples]
    begun = [net.step(s[0], None, **_arguments(net, dict(zip(said.inputs, s[1:], strict=True))))[1] for s in samples]  # type: ignore[operator]
    states = [tree_flatten(state) for state in begun]
    if not all(isinstance(leaf, Tensor) for leaf in states[0][0]):
        raise UserError(f'{said.name} cannot be exported', value='its state holds more than tensors')
    state_names = [f'state_{number}' for number in range(len(states[0][0]))]
    going_on = [[*sample, *leaves] for sample, (leaves, _) in zip(samples, states, strict=True)]
    step = Step(net, said.inputs, states[0][1])
    # a name may stand for one tensor of a graph only
    outputs = ['out', *(f'next_{number}' for number in range(len(state_names)))]
    found.graphs.append(Graph('first', _program(first, samples[0], samples[1]), names, outputs, first))
    found.graphs.append(Graph('step', _program(step, *going_on), [*names, *state_names], outputs, step))
    found.trials |= {'first': samples, 'step': going_on}
    found.about['states'] = len(state_names)


def _program(call: nn.Module, one: list[Tensor], other: list[Tensor]) -> Any:
    """torch.export of `call`; dimensions in which two samples differ may be of any size."""
    dynamic = torch.export.Dim.AUTO
    shapes = [
        {dim: dynamic for dim, (a, b) in enumerate(zip(x.shape, y.shape, strict=True)) if a != b} or None
        for x, y in zip(one, other, strict=True)
    ]
    free = (shapes[0],) if len(one) == 1 else (shapes[0], tuple(shapes[1:]))
    named = {'frames': free[0]}
    if len(one) > 1:
        named['fields' if isinstance(call, Whole) else 'rest'] = tuple(shapes[1:])  # type: ignore[assignment]
    program = torch.export.export(call, tuple(one), dynamic_shapes=named, strict=False)
    frames = next(node for node in program.graph.nodes if node.name == 'frames')
    fixed = [size for size in frames.meta['val'].shape[-2:] if isinstance(size, int)]
    if fixed:
        raise UserError(
            f'{type(call.net).__name__} cannot be exported for frames of any size', value=f'a side became {fixed[0]}'
        )
    return program


def _least(program: Any) -> int:
    """The least side that the graph holds for."""
    lows = [1]
    for bounds in program.range_constraints.values():
        low = re.fullmatch(r'\d+', str(bounds.lower))
        if low:
            lows.append(int(low[0]))
    return max(lows)


def _sees(said: Promise, count: int) -> dict[str, Any]:
    """JSON of what it sees."""
    sees = said.sees
    if isinstance(sees, Window):
        about = {'frames': sees.frames, 'centre': sees.centre, 'pick': sees.pick, 'adjacent': sees.adjacent}
        return {'kind': 'Window', **about}
    if isinstance(sees, Clip):
        return {'kind': 'Clip', 'least': sees.least, 'context': sees.context, 'frames': count}
    if isinstance(sees, Causal):
        return {'kind': 'Causal', 'look_ahead': sees.look_ahead, 'least': sees.least}
    return {'kind': 'Frame'}
