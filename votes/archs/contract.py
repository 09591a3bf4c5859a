"""How a network sees a video: what its class promises, and the one place that calls networks by these promises.

A network is an nn.Module, written as its paper has it. What everything else must know about it stands in its class (or
is set by its constructor):

    sees        Frame(), Window(5), Clip(), Causal(): see there. The only promise without a default; None of what is no
                network of videos by itself, such as a discriminator or an optical flow
    scale       output size / input size, 1 unless told
    multiple    height and width of its input must be multiples of it, 1 unless told: others are padded here
    smallest    the least height and width that it takes, 1 unless told
    channels    'rgb', or 'luma' for networks of one channel: they restore Y (BT.601, as YUV files have it), the colours
                of the input are kept, enlarged where the network enlarges
    inputs      fields that it reads besides frames, see archs.fields: keyword arguments of `forward` by these names
    optional    fields that it uses where a sample has them
    parts       name -> how the names of its parameters begin: what option files may freeze, slow down, load from
                another file or compute again
    methods     method -> how the names of the parameters that it uses begin: it is computed again as one where options
                say so of their part
    supervised  loss term -> {'output', 'target', 'frame', 'weight'}: what one pixel loss is meant to compare,
                ``{'l_pix': {}}`` unless told: 'out' with GT
    senses      whether it has a degradation map, see below
    restores    whether its frames are a restoration, True unless told: a DSM's are a step on the way
    trained_before  parts without whose weights, from an earlier stage, its training makes no sense
    small       constructor arguments with which a test of a second covers all of it

and may have

    arguments(sample)            class or instance method: keyword arguments of `forward` made of a sample with the
                                 fields of `inputs`, for a network that wants them in its own convention
    from_weights(weights)        class method: constructor arguments of the network a state_dict belongs to, or None
    published_weights(weights)   class or instance method: a published state_dict with the keys of this class; of an
                                 instance where a published file lacks what its arguments tell
    memory()                     what computes a video's windows with what they share computed once, with the interface
                                 and the bits of parts.window_memory.WindowMemory
    degradation_map(x)           windows (B, T, 3, h, w) -> (B, 1, h, w) in [0, 1], where `senses` is True; of a
                                 network with a `map_field`, degradation_map(x, that field)
    map_field                    the field of `inputs` that its degradation map is made of; None where frames are enough
    no_graph                     why no graph of operators is the network for all frames: `votes export` refuses with it

`forward` returns the restored frames, or a mapping with them under 'out' and whatever else a loss may look at.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from votes.archs.fields import FIELDS, padded
from votes.archs.parts.blocks import enlarged
from votes.archs.windows import Pick
from votes.errors import UserError
from votes.ops.exporting import autocast

Result = dict[str, Tensor]
AMP = {'none': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}  # what option files call precisions
Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Frame:
    """Each frame for itself: ``net(x)`` takes (B, 3, h, w) and gives (B, 3, S*h, S*w)."""


@dataclass(frozen=True)
class Window:
    """One frame and its neighbours: ``net(x)`` takes (B, frames, 3, h, w) and gives (B, 3, S*h, S*w), the frame at
    `centre`.

    Attributes:
        frames: of a window.
        centre: which of them is restored, the middle one unless told.
        pick: 'next' to each other, or 'peaks': the frame, and the nearest frames of peak quality (field 'pqf') before
            and after it in its scene; (frames - 1) / 2 of them on either side. In place of those, 'intra' has I frames,
            'anchors' I and P frames (field 'pict_type').
        adjacent: where frames are picked, those next to the centre are among them, whatever their quality.
    """

    frames: int = 5
    centre: int = -1
    pick: Pick = 'next'
    adjacent: bool = False

    def __post_init__(self) -> None:
        if self.centre < 0:
            object.__setattr__(self, 'centre', self.frames // 2)
        if not 0 <= self.centre < self.frames:
            raise ValueError(f'a window of {self.frames} frames has no frame {self.centre}')

    @property
    def picks(self) -> bool:
        """Whether its frames are chosen by what the codec says of them."""
        return self.pick != 'next'


@dataclass(frozen=True)
class Clip:
    """All frames at once, in both directions: ``net(x)`` takes (B, T, 3, h, w) and gives (B, T, 3, S*h, S*w).

    Attributes:
        least: frames of the shortest clip that it takes.
        context: frames that a piece of a long video needs before and after it, for its frames to be (nearly) as good as
            those of the whole.
    """

    least: int = 1
    context: int = 8


@dataclass(frozen=True)
class Causal:
    """One frame after the other: ``net.step(frames, state)`` takes a frame and those ahead of it, (B, 1 + look_ahead,
    3, h, w) (beyond a clip's end its last frame again), and the state that the step before returned (None before the
    first frame). It returns the restored frame (B, 3, S*h, S*w), or a mapping with it under 'out', and the new state:
    tensors in dictionaries, lists and tuples. Fields are given as frames are.

    ``net(x)`` takes a whole clip (B, T, 3, h, w) -> (B, T, 3, S*h, S*w): ``run_causal(net, x)``, or the same with what
    frames need computed for all of them at once, which training profits from. In evaluation mode steps are taken.
    """

    look_ahead: int = 0
    least: int = 1


Sees = Frame | Window | Clip | Causal


@dataclass(frozen=True)
class Promise:
    """What a network says about itself, with defaults filled in; see the top of this file."""

    name: str
    sees: Sees
    scale: int = 1
    multiple: int = 1
    smallest: int = 1
    channels: Literal['rgb', 'luma'] = 'rgb'
    inputs: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    supervised: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {'l_pix': {}})
    senses: bool = False
    restores: bool = True

    def restored(self, count: int) -> list[int]:
        """Which of `count` frames that it is given come out."""
        return [self.sees.centre] if isinstance(self.sees, Window) else list(range(count))

    @property
    def reads_codec(self) -> bool:
        """Whether it reads what the decoder knows, or picks its frames by that."""
        return bool(self.inputs) or (isinstance(self.sees, Window) and self.sees.picks)

    def frames(self, least: int = 1) -> int:
        """How many frames a test or a trial may give it: at least `least`."""
        if isinstance(self.sees, Window):
            return self.sees.frames
        return 1 if isinstance(self.sees, Frame) else max(least, self.sees.least)


def promise(net: nn.Module) -> Promise:
    """What `net` says about itself.

    Raises:
        UserError: it does not say how it sees a video, or names a field that there is not.
    """
    name = type(net).__name__
    sees = getattr(net, 'sees', None)
    count = getattr(net, 'num_frame', None)
    if sees is None and isinstance(count, int):  # as networks of a user's own said it to version 0.1
        sees = Clip() if getattr(net, 'recurrent', False) else Window(count)
        warnings.warn(f'{name}: num_frame and recurrent are an older form of sees = {sees}', stacklevel=2)
    if not isinstance(sees, Sees):
        raise UserError(
            f'{name} {"is no network of videos" if hasattr(net, "sees") else "does not say how it sees a video"}',
            value=f'sees = {sees!r}',
            fix='one that restores (`votes zoo`); your own class has sees = Frame(), Window(5), Clip() or Causal()',
        )
    given = {key: getattr(net, key) for key in Promise.__dataclass_fields__ if key != 'name' and hasattr(net, key)}
    said = Promise(name, **{**given, 'sees': sees})
    _check_kinds(said)
    unknown = [key for key in (*said.inputs, *said.optional) if key not in FIELDS]
    if unknown:
        raise UserError(
            f'{name} reads fields that there are not', value=', '.join(unknown), fix=f'known: {", ".join(FIELDS)}'
        )
    return said


def _check_kinds(said: Promise) -> None:
    """A class may have attributes of these names that mean something else."""

    def check(kept: bool, key: str, needed: str) -> None:
        if not kept:
            value = f'{key} = {str(getattr(said, key)).splitlines()[0][:60]}'
            fix = f'{needed}; what is something else wants another name'
            raise UserError(f'{said.name}.{key} is a promise of a network', value=value, fix=fix)

    for key in ('scale', 'multiple', 'smallest'):
        value = getattr(said, key)
        check(isinstance(value, int) and value >= 1, key, 'a whole number from 1 on')
    check(said.channels in ('rgb', 'luma'), 'channels', "'rgb' or 'luma'")
    vectors = [name for name in (*said.inputs, *said.optional) if name in FIELDS and FIELDS[name].kind == 'vectors']
    apart = isinstance(said.sees, Window) and said.sees.picks and not said.sees.adjacent
    check(not (apart and vectors), 'inputs', 'no motion vectors: frames that are picked are not next to each other')
    for key in ('inputs', 'optional'):
        check(isinstance(getattr(said, key), tuple | list), key, "a tuple of names, ('qp',)")
    words = "a mapping of names to tuples of beginnings of parameters' names, {'flow': ('spynet.',)}"
    parts = said.parts.values() if isinstance(said.parts, Mapping) else ['']
    check(all(isinstance(starts, tuple | list) for starts in parts), 'parts', words)


def broken(said: Promise, what: str, value: object, fix: str | None = None) -> UserError:
    """The error of a network, or of who calls it, that does not keep to the promise."""
    return UserError(f'{said.name}: {what}', where=f'it promises {said.sees}, scale {said.scale}', value=value, fix=fix)


def apply(
    net: nn.Module,
    sample: Sample,
    *,
    amp: torch.dtype | None = None,
    call: Callable[..., Any] | None = None,
    said: Promise | None = None,
) -> Result:
    """What a network makes of a sample: the only place that knows shapes, padding, precision, and what comes out for
    which frame.

    Args:
        sample: 'lq' (B, T, 3, h, w) float in [0, 1], of any size; fields that the network reads; others are ignored.
        amp: the type of autocast; results are float32 in any case.
        call: what runs in place of ``net`` (a network wrapped for several processes).

    Returns:
        'out': (B, T_out, 3, S*h, S*w), not clamped, where T_out is 1 of a Window and T of all others; and what else the
        network returns, by its names, frames along dimension 1, cropped where it was padded.

    Raises:
        UserError: the sample or the network does not keep the promise.
    """
    said = said or promise(net)
    count = sample['lq'].shape[1]
    if isinstance(said.sees, Window) and count != said.sees.frames:
        raise broken(said, f'sees windows of {said.sees.frames} frames', f'{count} frames')
    if isinstance(said.sees, Clip | Causal) and count < said.sees.least:
        raise broken(said, f'sees clips of at least {said.sees.least} frames', f'{count} frames')
    return _through(sample, said, said.restored(count), amp, lambda x, fields: _call(net, said, x, fields, call or net))


def step(
    net: nn.Module, sample: Sample, state: Any, *, amp: torch.dtype | None = None, said: Promise | None = None
) -> tuple[Result, Any]:
    """One step of a Causal network, as `apply`.

    Args:
        sample: a frame and those ahead of it, see Causal.
        state: what the step before returned, None before the first frame.

    Returns:
        As of `apply` with T_out = 1, and the new state.
    """
    said, after = said or promise(net), state

    def one(frames: Tensor, fields: Sample) -> Result:
        nonlocal after
        returned, after = net.step(frames, state, **_arguments(net, fields))  # type: ignore[operator]
        return {name: value.unsqueeze(1) for name, value in _mapping(said, returned).items()}

    return _through(sample, said, [0], amp, one), after


def _through(
    sample: Sample, said: Promise, restored: list[int], amp: torch.dtype | None, run: Callable[[Tensor, Sample], Result]
) -> Result:
    """`run` on padded frames and fields, in a precision; its results checked and cropped."""
    lq = sample['lq']
    if lq.dim() != 5:
        raise broken(said, 'frames are (B, T, 3, h, w)', tuple(lq.shape))
    height, width = lq.shape[-2:]
    fields = {name: sample[name] for name in (*said.inputs, *said.optional) if sample.get(name) is not None}
    missing = [name for name in said.inputs if name not in fields]
    if missing:
        raise broken(
            said,
            f'reads {", ".join(missing)}, which the sample does not have',
            f'it has {", ".join(name for name in sample if name in FIELDS)}',
            'codec_metadata (`votes metadata`) or dataroot_dfm (`votes sense`) in the dataset, or a video file',
        )
    bottom, right = padding_of(said, height, width)
    frames = padded('lq', lq, bottom, right)
    fields = {name: padded(name, value, bottom, right) for name, value in fields.items()}
    luma = luma_of(frames) if said.channels == 'luma' else None
    with autocast(lq.device.type, amp):
        result = run(frames if luma is None else luma, fields)
    result = {name: value.float() for name, value in result.items()}
    if luma is not None:
        result['luma'] = result['out']
        result['out'] = with_luma(frames[:, restored], result['out'])
    size = height + bottom, width + right
    result = {name: _cropped(value, size, (height, width)) for name, value in result.items()}
    expected = (lq.shape[0], len(restored), lq.shape[2], height * said.scale, width * said.scale)
    if result['out'].shape != expected:
        raise broken(said, f'the output is not {expected}', tuple(result['out'].shape), 'scale, or what `sees` says')
    return result


def padding_of(said: Promise, height: int, width: int) -> tuple[int, int]:
    """Rows at the bottom and columns at the right that a frame of this size lacks."""
    bottom, right = (max(said.smallest - n, 0) for n in (height, width))
    return bottom + -(height + bottom) % said.multiple, right + -(width + right) % said.multiple


def _arguments(net: nn.Module, fields: Sample) -> Sample:
    convert = getattr(net, 'arguments', None)
    return convert(fields) if convert else fields


def _mapping(said: Promise, returned: Any) -> Result:
    result: Result = dict(returned) if isinstance(returned, Mapping) else {'out': returned}
    if not isinstance(result.get('out'), Tensor):
        raise broken(said, "returns the restored frames, or a mapping with them under 'out'", type(returned).__name__)
    return result


def _call(net: nn.Module, said: Promise, frames: Tensor, fields: Sample, call: Callable[..., Any]) -> Result:
    """`call` with the shapes that `sees` says; every value of the result has its frames along dimension 1."""
    batch, count = frames.shape[:2]
    if isinstance(said.sees, Frame):
        frames = frames.flatten(0, 1)
        fields = {name: value.flatten(0, 1) for name, value in fields.items()}
    if isinstance(said.sees, Causal) and not net.training:
        return _mapping(said, run_causal(net, frames, lambda part: _arguments(net, part), **fields))
    result = _mapping(said, call(frames, **_arguments(net, fields)))
    if isinstance(said.sees, Frame):
        return {name: value.unflatten(0, (batch, count)) for name, value in result.items()}
    if isinstance(said.sees, Window):
        return {name: value.unsqueeze(1) for name, value in result.items()}
    return result


def _cropped(x: Tensor, padded_size: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """The part without padding, of an output whose size is a part or a multiple of the frame's."""
    if x.dim() < 4:
        return x
    height, width = (-(-whole * n // full) for whole, n, full in zip(x.shape[-2:], size, padded_size, strict=True))
    return x[..., :height, :width]


def run_causal(net: nn.Module, x: Tensor, convert: Callable[[Sample], Sample] = dict, **fields: Tensor) -> Any:
    """A whole clip (B, T, 3, h, w) through ``net.step``: (B, T, 3, S*h, S*w), or a mapping of such.

    Args:
        convert: fields of a step -> arguments of ``net.step``.
    """
    said, count = promise(net), x.shape[1]
    assert isinstance(said.sees, Causal)
    state: Any = None
    results = []
    for number in range(count):
        ahead = [min(number + n, count - 1) for n in range(said.sees.look_ahead + 1)]
        part = convert({name: value[:, ahead] for name, value in fields.items()})
        result, state = net.step(x[:, ahead], state, **part)  # type: ignore[operator]
        results.append(result)
    if isinstance(results[0], Mapping):
        return {name: torch.stack([result[name] for result in results], 1) for name in results[0]}
    return torch.stack(results, 1)


# Y of networks of one channel: BT.601 in the studio range, as YUV files and the papers of such networks have it
_FORWARD = ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))
_OFFSETS = (16.0, 128.0, 128.0)


def _ycc(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    matrix, offset = (
        torch.tensor(values, dtype=torch.float32, device=x.device) / 255 for values in (_FORWARD, _OFFSETS)
    )
    return torch.einsum('oc,...chw->...ohw', matrix, x.float()) + offset.view(3, 1, 1), matrix, offset


def luma_of(x: Tensor) -> Tensor:
    """RGB (..., 3, h, w) in [0, 1] -> Y (..., 1, h, w), 16/255 to 235/255; one channel stays as it is."""
    return x if x.shape[-3] == 1 else _ycc(x)[0][..., :1, :, :]


def with_luma(rgb: Tensor, luma: Tensor) -> Tensor:
    """RGB (..., 3, h, w) with its Y replaced by `luma` (..., 1, h, w), or enlarged (bicubic) to the size of `luma`."""
    if rgb.shape[-3] == 1:
        return luma
    if rgb.shape[-2:] != luma.shape[-2:]:
        size = luma.shape[-2], luma.shape[-1]
        rgb = enlarged(rgb.flatten(0, -4).float(), size).unflatten(0, rgb.shape[:-3])
    ycc, matrix, offset = _ycc(rgb)
    changed = torch.cat((luma.float(), ycc[..., 1:, :, :]), -3) - offset.view(3, 1, 1)
    return torch.einsum('oc,...chw->...ohw', torch.linalg.inv(matrix), changed)
