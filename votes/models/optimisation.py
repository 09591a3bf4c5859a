"""One optimisation step: the gradients of every phase, one decision of all ranks, then every update."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from votes.models.learner import Learner
from votes.processes import distributed


@dataclass
class Outcome:
    """What came of a step.

    Attributes:
        terms: loss terms of this rank's samples, on the device.
        finite: no rank saw NaN or Inf; otherwise nothing was updated.
        void: some rank had no samples of this step; nothing was updated.
        stop: some rank was asked to stop.
        gain: see RestorationModel.step.
    """

    terms: dict[str, Tensor]
    finite: bool
    stop: bool
    gain: Tensor | None = None
    void: bool = False


@dataclass
class Phase:
    """A part of a step in which one learner gets its gradients.

    Attributes:
        losses: micro-batch -> loss terms.
    """

    learner: Learner
    losses: Callable[[Any], Mapping[str, Tensor]]


def take_step(
    phases: Sequence[Phase],
    pieces: Sequence[Any],
    iteration: int,
    *,
    seed: int = 0,
    lr_scale: float = 1,
    stop: Callable[[], bool] = lambda: False,
    void: bool = False,
) -> Outcome:
    """Gradients of all phases over all pieces, then the updates, unless some rank saw NaN or Inf in any of them.

    A piece is what one process sees at once; a loss that sums does so within it. The gradients of all pieces are
    averaged, whether they come one after the other or from several processes: N pieces on one process and one on each
    of N are the same step.

    Args:
        pieces: micro-batches.
        iteration: number of the step, from 1.
        seed: of what networks and losses draw.
        lr_scale: factor on the scheduled rates.
        stop: asked after the backward passes, see Outcome.
        void: `pieces` only stand for samples that did not come.
    """
    torch.manual_seed((seed * 1_000_003 + iteration) * 4099 + distributed.rank())
    terms: dict[str, Tensor] = {}
    judged = []
    for phase in phases:
        phase.learner.begin(iteration, lr_scale)
        own = phase.learner.gradients(pieces, phase.losses)
        judged.append(phase.learner.judge(own.values()))
        terms |= own
    bad = torch.stack([found for found, _ in judged]).any()
    any_bad, any_stop, any_void = distributed.any_rank(bad, stop(), void, device=phases[0].learner.device)
    for phase, (_, overflow) in zip(phases, judged, strict=True) if not any_void else ():
        if not any_bad:
            phase.learner.update(overflow)
        phase.learner.scaler.update()
    return Outcome(terms, not any_bad, any_stop, void=any_void)
