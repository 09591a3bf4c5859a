"""A network as one or two graphs: functions of tensors alone, for frames of any size.

Windows and clips are one graph with as many frames as it was exported for. A Causal network is two: of a clip's first
frame, which begins a state, and of every further one, which takes the state and gives the next.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
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
SIDES = ((64, 80), (80, 96))  # the graph is traced with the first, and tried with both: larger ones always hold
CLOSE = 1e-4  # the largest difference to PyTorch, of pictures in [0, 1]
VERSION = 1
FIX = '`votes restore` runs it as it is'
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


class _Others:
    """A stream without what this thread writes to it."""

    def __init__(self, stream: Any):
        self.stream, self.thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        return len(text) if threading.get_ident() == self.thread else int(self.stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporters of PyTorch write for its authors: notes on operators, whole graphs where one fails.
    What other threads write, and what other packages log and warn of, is left alone.
    """
    names = [name for name in (*EXPORTERS, *logging.root.manager.loggerDict) if name.partition('.')[0] in EXPORTERS]
    before = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    for logger in before:  # those below others have levels of their own
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(_Others(sys.stderr)):
            warnings.filterwarnings('ignore', module=rf'({"|".join((*EXPORTERS, "votes", "copyreg"))})\b')
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
    reason = next((part.no_graph for part in net.modules() if getattr(part, 'no_graph', None)), None)
    if reason:
        raise UserError(f'{said.name} cannot be exported', value=reason, fix=FIX)
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
        told = 'its course depends on what it is shown' if 'data-dependent' in str(error) else first_line(error)
        raise UserError(f'{said.name} cannot be exported', value=told, fix=FIX) from error
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
        value = torch.rand(shape, generator=draw)
        if name == 'pict_type':
            found.append(torch.full(shape, float(ord('P'))))
        elif kind.kind == 'vectors':
            found.append(4 * value)
        else:  # of a quantiser, about another one in each trial
            found.append((value + 40 * torch.rand(1, generator=draw) * (name == 'qp')).round())
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


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def difference(
    graph: Graph, trials: list[list[Tensor]], compute: Callable[[list[Tensor]], list[Tensor]], fix: str
) -> float:
    """The largest difference between a network and what was made of its graph, over trials.

    Args:
        compute: what was made of it: the inputs of the graph -> its outputs.
        fix: what may be done where it is too large.

    Raises:
        UserError: it is CLOSE or more, or cannot be computed at a size.
    """
    name, worst = type(graph.call.net).__name__, 0.0
    for trial in trials:
        with torch.no_grad():
            wanted = graph.call(*trial)
            try:
                found = compute(trial)
            except Exception as error:  # onnxruntime has no classes of errors that are its own
                size = f'at {trial[0].shape[-1]}x{trial[0].shape[-2]}'
                raise UserError(f'{name} cannot be exported', where=size, value=first_line(error), fix=FIX) from error
        pairs = zip(wanted if isinstance(wanted, tuple) else [wanted], found, strict=True)
        gaps = [float((a - b).abs().max()) if a.shape == b.shape else float('inf') for a, b in pairs]
        worst = max(worst, *gaps)
    if not worst < CLOSE:
        value = f'{worst:.1e} from PyTorch, less than {CLOSE:g} is wanted'
        raise UserError(f'what was made of {name} gives other pictures', value=value, fix=fix)
    return worst


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
