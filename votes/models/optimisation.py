"""One optimisation step: gradients over micro-batches and ranks, one decision of all ranks, then the update."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map
from torch.utils.checkpoint import checkpoint as recompute

from votes.archs.parts.blocks import compile_blocks
from votes.options import Options
from votes.processes import distributed
from votes.registry import OPTIMIZERS, SCHEDULERS

AMP = {'none': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}
HEAVY_PARTS = ('feature_extraction', 'pcd_align', 'fusion', 'reconstruction')
SMALLEST_LOSS_SCALE = 1.0  # fp16 gradients that still overflow at this scale are not the scale's fault


@dataclass
class Outcome:
    """What came of a step.

    Attributes:
        terms: loss terms of this rank's samples, on the device.
        finite: no rank saw NaN or Inf; otherwise nothing was updated.
        stop: some rank was asked to stop.
        gain: see RestorationModel.step.
    """

    terms: dict[str, Tensor]
    finite: bool
    stop: bool
    gain: Tensor | None = None


class Optimisation:
    """Optimiser, precision, accumulation, moving average and gradients over ranks of one network.

    Args:
        opt: options with a `train` section.
        net: on its device, in training mode.
    """

    def __init__(self, opt: Options, net: nn.Module):
        assert opt.train is not None
        self.opt, self.train, self.net = opt, opt.train, net
        self.messages: list[str] = []
        self.device = next(net.parameters()).device
        self.dtype = AMP[self.train.amp]
        self.named = {name: p for name, p in net.named_parameters() if p.requires_grad}
        self.optimizer = OPTIMIZERS.get(self.train.optim_g.type)(self._groups(), **self.train.optim_g.args)
        for group in self.optimizer.param_groups:
            group['initial_lr'] = group['lr'] * group['lr_mul']
        schedule = self.train.scheduler
        self.schedule = schedule and SCHEDULERS.get(schedule.type)(**schedule.args)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)
        self.ema = copy.deepcopy(net).requires_grad_(False).eval() if self.train.ema_decay else None
        self.runner = self._runner()

    def _groups(self) -> list[dict[str, Any]]:
        """Parameters by learning-rate multiplier: `dcn_lr_mul` for deformable convolutions, `lr_mul` by name."""
        find = getattr(self.net, 'deformable_convs', None)
        deformable = {id(p) for conv in (find() if find else {}).values() for p in conv.parameters()}
        groups: dict[float, list[Tensor]] = {}
        for name, parameter in self.named.items():
            prefix = max((key for key in self.train.lr_mul if name.startswith(key)), key=len, default=None)
            factor = 1.0 if prefix is None else self.train.lr_mul[prefix]
            factor *= self.train.dcn_lr_mul if id(parameter) in deformable else 1
            groups.setdefault(factor, []).append(parameter)
        return [{'params': parameters, 'lr_mul': factor} for factor, parameters in groups.items()]

    def _runner(self) -> Callable[..., Any]:
        """The network as training calls it: recomputing, compiled, averaging gradients over ranks."""
        if self.train.activation_checkpoint:
            for name in HEAVY_PARTS:
                part = getattr(self.net, name, None)
                if isinstance(part, nn.Module):
                    part.forward = _recomputed(part.forward)  # type: ignore[method-assign]
        runner: Callable[..., Any] = self.net
        if distributed.world_size() > 1:
            runner = DistributedDataParallel(
                self.net,
                device_ids=[self.device.index] if self.device.type == 'cuda' else None,
                gradient_as_bucket_view=True,
                static_graph=self.train.static_graph,
            )
        if self.train.compile:
            self._compile(runner)
        return runner

    def _compile(self, runner: Callable[..., Any]) -> None:
        """Compiles the network's blocks, and leaves them as they were where a trial forward and backward fails."""
        args = self.opt.datasets['train'].args
        side = int(args.get('gt_size', 128)) // self.opt.scale
        count = self.opt.datasets['train'].batch_size_per_gpu
        inputs = [torch.rand(count, int(args.get('num_frame', 5)), 3, side, side, device=self.device)]
        if args.get('dataroot_dfm'):
            inputs.append(torch.zeros(count, 1, side, side, dtype=torch.uint8, device=self.device))
        blocks = compile_blocks(self.net)
        try:
            with self._autocast():
                outputs = runner(*inputs)
            torch.stack(
                [o.float().mean() for o in (outputs if isinstance(outputs, tuple) else (outputs,))]
            ).sum().backward()
        except Exception as error:  # of whatever compiler there is; training without one is the answer to all of them
            self.messages.append(f'notice: train.compile does not work here: {str(error).strip().splitlines()[0]}')
            for block in blocks:
                block._compiled_call_impl = None
        finally:
            self.optimizer.zero_grad(set_to_none=True)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype or torch.bfloat16, enabled=self.dtype is not None)

    def forward(self, *inputs: Tensor) -> Any:
        """The network's output in float32, computed in the precision of ``train.amp``."""
        with self._autocast():
            result = self.runner(*inputs)
        return tree_map(lambda t: t.float(), result)

    def learning_rate(self, iteration: int, scale: float = 1) -> float:
        """Sets the rate of update number `iteration` (from 1) and returns that of ``lr_mul: 1``."""
        train, base = self.train, 0.0
        warm = min(1.0, iteration / train.warmup_iter) if train.warmup_iter > 0 else 1.0
        for group in self.optimizer.param_groups:
            lr = self.schedule(group['initial_lr'], iteration - 1) if self.schedule else group['initial_lr']
            group['lr'] = lr * warm * scale
            base = max(base, group['lr'] / group['lr_mul'] if group['lr_mul'] else 0)
        return base

    def step(
        self,
        parts: list[Any],
        losses: Callable[[Any], dict[str, Tensor]],
        iteration: int,
        lr_scale: float = 1,
        stop: Callable[[], bool] = lambda: False,
    ) -> Outcome:
        """Gradients of all parts, then the update, unless some rank saw NaN or Inf.

        Args:
            parts: micro-batches; gradients of their losses are averaged (summed, for losses that sum).
            losses: part -> loss terms.
            lr_scale: factor on the scheduled rate.
            stop: asked after the backward pass, see Outcome.
        """
        self.learning_rate(iteration, lr_scale)
        # nothing here draws from this generator, but a network with dropout would
        torch.manual_seed((self.opt.manual_seed * 1_000_003 + iteration) * 4099 + distributed.rank())
        self.optimizer.zero_grad(set_to_none=True)
        terms = self._gradients(parts, losses)
        if iteration <= self.train.tsa_iter:
            for name, parameter in self.named.items():
                if not name.startswith('fusion.'):
                    parameter.grad = None  # EDVR trains its attention alone at first; Adam leaves these untouched
        self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self.named.values() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        bad = ~torch.isfinite(torch.stack([*terms.values(), norm]).sum())
        overflow = False
        if self.scaler.is_enabled() and self.scaler.get_scale() > SMALLEST_LOSS_SCALE:
            overflow = bool(~torch.isfinite(norm))  # the scaler skips this update and lowers its scale
            bad = ~torch.isfinite(torch.stack(list(terms.values())).sum())
        any_bad, any_stop = distributed.any_rank(bad, stop(), device=self.device)
        if not any_bad:
            if self.train.grad_clip and not overflow:
                torch.nn.utils.clip_grads_with_norm_(self.named.values(), self.train.grad_clip, norm)
            self.scaler.step(self.optimizer)
            if self.ema is not None and not overflow:
                ema: list[Tensor] = [p for name, p in self.ema.named_parameters() if name in self.named]
                torch._foreach_lerp_(ema, [p.detach() for p in self.named.values()], 1 - self.train.ema_decay)
        self.scaler.update()
        return Outcome({name: term.detach() for name, term in terms.items()}, not any_bad, any_stop)

    def _gradients(self, parts: list[Any], losses: Callable[[Any], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Backward passes; returns the loss terms averaged (or summed) over parts."""
        share = 1 if self.train.pixel_opt.args.get('reduction') == 'sum' else 1 / len(parts)
        total: dict[str, Tensor] = {}
        for number, part in enumerate(parts, 1):
            alone = isinstance(self.runner, DistributedDataParallel) and number < len(parts)
            with self.runner.no_sync() if alone else contextlib.nullcontext():  # type: ignore[attr-defined]
                terms = {name: share * term for name, term in losses(part).items()}
                self.scaler.scale(torch.stack(list(terms.values())).sum()).backward()
            total = {name: term.detach() + total.get(name, 0) for name, term in terms.items()}
        return total

    def worst_gradients(self, count: int = 5) -> list[str]:
        """Parameters with NaN or Inf in their gradients, the most first."""
        broken = {name: int((~torch.isfinite(p.grad)).sum()) for name, p in self.named.items() if p.grad is not None}
        names = sorted((n for n in broken if broken[n]), key=lambda n: -broken[n])
        return [f'{name} ({broken[name]} of {self.named[name].numel()})' for name in names[:count]]

    # what a training state holds; everything else in this object follows from the options

    def state(self) -> dict[str, Any]:
        """BasicSR's keys (its schedulers have none here) and the loss scale of fp16."""
        return {'optimizers': [self.optimizer.state_dict()], 'schedulers': [], 'scaler': self.scaler.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes over the optimiser's moments and the loss scale; the rates stay those of the options."""
        rates = [{key: group[key] for key in ('lr', 'initial_lr', 'lr_mul')} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state['optimizers'][0])
        for group, own in zip(self.optimizer.param_groups, rates, strict=True):
            group.update(own)
        if self.scaler.is_enabled() and state.get('scaler'):
            self.scaler.load_state_dict(state['scaler'])


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args)
        return recompute(forward, *args, use_reentrant=False)

    return run
