"""Loss terms by name: which output of the network is compared with which target, by which loss, from when on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from votes.archs.contract import Promise, Result, Window
from votes.errors import UserError
from votes.options import Spec, TrainOptions
from votes.registry import LOSSES, TARGETS

ABOUT = ('output', 'target', 'frame', 'from_iter')  # what a loss entry says besides its constructor's arguments


@dataclass
class Term:
    """One term of a training loss.

    Attributes:
        output: of the network, see archs.contract.
        target: name in TARGETS.
        frame: of the GT window, counted from the centre frame.
        from_iter: the term counts after so many iterations.
        weight: factor beside the loss's own.
    """

    name: str
    loss: nn.Module
    output: str = 'out'
    target: str = 'gt'
    frame: int = 0
    from_iter: int = 0
    weight: float = 1.0

    @property
    def adversarial(self) -> bool:
        """Whether a discriminator says what the output is worth."""
        return bool(getattr(self.loss, 'adversarial', False))

    def values(
        self,
        result: Result,
        sample: Mapping[str, Any],
        said: Promise,
        scale: int,
        judge: Callable[[Tensor], Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The term, and what else the loss gives, by name.

        An output of several pictures for each restored frame, (B, N, C, H, W) of a Window, is compared with one target.

        Args:
            sample: 'gt' (B, T, 3, H, W) of all frames or of the restored one, 'once' likewise where it is compared, and
                'lq' of all.
            judge: the discriminator.
        """
        if self.output not in result:
            raise UserError(
                f'loss {self.name!r} compares an output that there is not',
                where=f'{said.name} returns {", ".join(result)}',
                value=self.output,
                fix='train.losses.*.output',
            )
        output = result[self.output].flatten(0, 1)
        if self.adversarial:
            assert judge is not None
            found: Any = self.loss(judge(output), True, is_disc=False)
        else:
            field = next((name for name in ('lq', 'once') if self.target.startswith(name)), 'gt')
            if field not in sample:
                raise UserError(
                    f'loss {self.name!r} compares frames after the first of two encodes, and samples have none',
                    value=self.target,
                    fix='datasets.train.dataroot_once',
                )
            frames = sample[field]
            target = target_of(self.target, frames, said, scale, self.frame).flatten(0, 1)
            if output.dim() > target.dim():
                target = target.unsqueeze(1).expand_as(output)
            found = self.loss(output, target)
        if isinstance(found, Tensor):
            found = {self.name: found}
        elif not isinstance(found, Mapping):  # perceptual and style
            found = dict(zip((self.name, f'{self.name}_style'), found, strict=False))
        factor = self.weight
        return {name: x if factor == 1 else factor * x for name, x in found.items() if x is not None}


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
            about = {key: entry[key] for key in (*ABOUT, 'weight') if key in entry}
            terms.append(Term(name, _built(train.pixel_opt), **about))
    for name, spec in (('l_percep', train.perceptual_opt), ('l_gan', train.gan_opt)):
        if spec:
            terms.append(Term(name, _built(spec)))
    for name, spec in train.losses.items():
        about = {key: value for key, value in spec.args.items() if key in ABOUT}
        terms.append(Term(name, _built(spec), **about))
    return terms


def _built(spec: Spec) -> nn.Module:
    arguments = {key: value for key, value in spec.args.items() if key not in ABOUT}
    loss: nn.Module = LOSSES.get(spec.type)(**arguments)
    return loss.requires_grad_(False)


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of loss terms."""
    return torch.stack(list(terms.values())).sum()
