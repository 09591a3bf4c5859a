"""Loss terms by name: which output of the network is compared with which target, by which loss, from when on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from votes.archs.contract import Promise, Result, Window
from votes.errors import UserError
from votes.options import Spec, TrainOptions
from votes.options.check import ABOUT_LOSSES
from votes.registry import LOSSES, TARGETS

DISCRIMINATOR = ('_d_real', '_d_fake')  # how the names of its terms end


@dataclass
class Beside:
    """What losses may look at besides an output and its target.

    Attributes:
        judge: pictures -> the discriminator's logits.
        averaged: what the moving average of the weights makes of the sample.
        offsets: of every deformable convolution that ran.
    """

    judge: Callable[[Tensor], Tensor] | None = None
    averaged: Callable[[], Result] | None = None
    offsets: Sequence[Tensor] = ()


@dataclass
class Term:
    """One term of a training loss.

    Attributes:
        output: of the network, see archs.contract.
        target: name in TARGETS.
        frame: of the GT window, counted from the centre frame.
        level: the target takes LQ's mean of each channel of a sample, so that the level of brightness that converting
            YUV takes (see video.convert) is not learned.
        from_iter: the term counts after so many iterations.
        until_iter: and less and less up to this one, from which on it does not count; None: it stays.
        weight: factor beside the loss's own.
    """

    name: str
    loss: nn.Module
    output: str = 'out'
    target: str = 'gt'
    frame: int = 0
    level: bool = False
    from_iter: int = 0
    until_iter: int | None = None
    weight: float = 1.0

    def says(self, mark: str) -> bool:
        """What its loss says of itself: 'adversarial': a discriminator says what the output is worth; 'of_offsets': it
        looks at those of deformable convolutions, and at no output; 'of_clips', 'compares_average'.
        """
        return bool(getattr(self.loss, mark, False))

    def factor(self, iteration: int) -> float:
        """Its weight in step number `iteration` (from 1)."""
        if iteration <= self.from_iter:
            return 0.0
        if self.until_iter is None:
            return self.weight
        left = (self.until_iter + 1 - iteration) / (self.until_iter - self.from_iter)
        return self.weight * max(0.0, left)

    def values(
        self,
        result: Result,
        sample: Mapping[str, Any],
        said: Promise,
        scale: int,
        beside: Beside | None = None,
        iteration: int = 1,
    ) -> dict[str, Tensor]:
        """The term, and what else the loss gives, by name.

        An output of several pictures for each restored frame, (B, N, C, H, W) of a Window, is compared with one target.

        Args:
            sample: 'gt' (B, T, 3, H, W) of all frames or of the restored one, 'once' likewise where it is compared, and
                'lq' of all.
        """
        beside = beside or Beside()
        if self.says('of_offsets'):
            if not beside.offsets:
                raise UserError(f'loss {self.name!r} looks at offsets: nothing deformable ran', where=said.name)
            found: Any = self.loss(beside.offsets)
        else:
            found = self._compared(result, sample, said, scale, beside)
        if isinstance(found, Tensor):
            found = {self.name: found}
        elif not isinstance(found, Mapping):  # perceptual and style
            found = dict(zip((self.name, f'{self.name}_style'), found, strict=False))
        factor = self.factor(iteration)
        return {name: x if factor == 1 else factor * x for name, x in found.items() if x is not None}

    def _compared(self, result: Result, sample: Mapping[str, Any], said: Promise, scale: int, beside: Beside) -> Any:
        if self.output not in result:
            raise UserError(
                f'loss {self.name!r} compares an output that there is not',
                where=f'{said.name} returns {", ".join(result)}',
                value=self.output,
                fix='train.losses.*.output',
            )
        if self.says('of_clips'):
            clips = result[self.output]
            return self.loss(clips, self.wanted(sample, said, scale).unflatten(0, clips.shape[:2]))
        output = result[self.output].flatten(0, 1)
        if self.says('adversarial'):
            judge = beside.judge
            assert judge is not None
            return self.loss.of_generator(  # type: ignore[operator]
                judge(self.loss.shown(output)),  # type: ignore[operator]
                lambda: judge(self.loss.shown(self.wanted(sample, said, scale))),  # type: ignore[operator]
            )
        target = self.wanted(sample, said, scale)
        if output.dim() > target.dim():
            target = target.unsqueeze(1).expand_as(output)
        if self.says('compares_average'):
            assert beside.averaged is not None
            return self.loss(output, target, beside.averaged()[self.output].flatten(0, 1))
        return self.loss(output, target)

    def wanted(self, sample: Mapping[str, Any], said: Promise, scale: int) -> Tensor:
        """What the output is compared with, (B*T_out, C, H, W)."""
        field = next((name for name in ('lq', 'once') if self.target.startswith(name)), 'gt')
        if field not in sample:
            raise UserError(
                f'loss {self.name!r} compares frames after the first of two encodes, and samples have none',
                value=self.target,
                fix='datasets.train.dataroot_once',
            )
        frames = sample[field]
        if self.level:
            shown = sample['lq']
            if len(shown[0]) != len(frames[0]):
                shown = shown[:, said.restored(len(shown[0]))]
            frames = frames + (_mean(shown) - _mean(frames))
        return target_of(self.target, frames, said, scale, self.frame).flatten(0, 1)


def _mean(frames: Tensor) -> Tensor:
    return frames.mean((1, 3, 4), keepdim=True)


def target_of(name: str, frames: Tensor, said: Promise, scale: int, frame: int = 0) -> Tensor:
    """A target for the frames that come out of a network, (B, T_out, C, H, W), see TARGETS.

    Args:
        frames: GT, or LQ or `once` for targets whose names begin so, (B, T, 3, H, W).
    """
    if isinstance(said.sees, Window):
        place = said.sees.centre + frame if frames.shape[1] > 1 else 0
        if not 0 <= place < frames.shape[1] or (frame and frames.shape[1] == 1):
            raise UserError(
                'a loss compares a frame whose GT the sample does not hold',
                value=f'frame {frame:+d} of {frames.shape[1]}',
                fix='datasets.train.center_gt: false',
            )
        frames = frames[:, place : place + 1]
    target: Tensor = TARGETS.get(name)(frames, scale)
    return target


def build_terms(train: TrainOptions, said: Promise) -> list[Term]:
    """The terms of ``train.losses``, and BasicSR's `pixel_opt`, `perceptual_opt` and `gan_opt`.

    `pixel_opt` is applied to each output that the network's class says is supervised.
    """
    terms = []
    if train.pixel_opt:
        for name, entry in said.supervised.items():
            about = {key: entry[key] for key in (*ABOUT_LOSSES, 'weight') if key in entry}
            terms.append(Term(name, _built(train.pixel_opt), **about))
    for name, spec in {'l_percep': train.perceptual_opt, 'l_gan': train.gan_opt, **train.losses}.items():
        if spec:
            about = {key: value for key, value in spec.args.items() if key in ABOUT_LOSSES}
            terms.append(Term(name, _built(spec), **about))
    return terms


def _built(spec: Spec) -> nn.Module:
    arguments = {key: value for key, value in spec.args.items() if key not in ABOUT_LOSSES}
    loss: nn.Module = LOSSES.get(spec.type)(**arguments)
    return loss.requires_grad_(False)


def restoring(values: Mapping[str, float]) -> float:
    """The generator's loss: the sum of its terms, without those of the discriminator."""
    return sum(value for name, value in values.items() if not name.endswith(DISCRIMINATOR))


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of loss terms."""
    return torch.stack(list(terms.values())).sum()
