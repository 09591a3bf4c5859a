"""What trains one network: optimiser, schedule, precision, moving average, and its gradients over micro-batches and
ranks.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint as recompute

from votes.archs.contract import AMP, Result, apply
from votes.archs.parts.blocks import compile_blocks
from votes.errors import UserError, first_line
from votes.models.clipping import clip_adaptively
from votes.models.terms import total
from votes.options import PartOptions, Spec, TrainOptions
from votes.processes import distributed
from votes.registry import OPTIMIZERS, SCHEDULERS

SMALLEST_LOSS_SCALE = 1.0  # fp16 gradients that still overflow at this scale are not the scale's fault


class Learner:
    """Trains one network.

    Args:
        net: on its device, in training mode.
        train: options that every learner of a training shares.
        optim: of this one.
        ema_decay: of the moving average of its weights, 0 for none.
        parts: what the option file says about the network's parts.
    """

    def __init__(
        self,
        net: nn.Module,
        train: TrainOptions,
        optim: Spec,
        *,
        ema_decay: float = 0,
        parts: Mapping[str, PartOptions] | None = None,
    ):
        self.net, self.train, self.ema_decay = net, train, ema_decay
        self.messages: list[str] = []
        self.device = next(net.parameters()).device
        self.dtype = AMP[train.amp]
        self.parts = parts or {}
        self.held = self._freeze()
        self.named = {name: p for name, p in net.named_parameters() if p.requires_grad}
        self.optimizer = OPTIMIZERS.get(optim.type)(self._groups(), **optim.args)
        for group in self.optimizer.param_groups:
            group['initial_lr'] = group['lr'] * group['lr_mul']
        self.schedule = train.scheduler and SCHEDULERS.get(train.scheduler.type)(**train.scheduler.args)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)
        self.ema = copy.deepcopy(net).requires_grad_(False).eval() if ema_decay else None
        self._save_memory()
        self.held_now: frozenset[str] | None = None
        self.runner: Callable[..., Any] = net
        self.hold(1)

    # parts

    def part(self, name: str) -> tuple[str, ...]:
        """How the names of a part's parameters begin."""
        return tuple(getattr(self.net, 'parts', {}).get(name, ()))

    def plans(self, name: str) -> list[PartOptions]:
        """What is said of the parts that a parameter belongs to."""
        return [plan for part, plan in self.parts.items() if name.startswith(self.part(part))]

    def _freeze(self) -> dict[str, int]:
        """Parameters that are frozen for good take no gradient; returns name -> iterations of those frozen at first."""
        held: dict[str, int] = {}
        for name, parameter in self.net.named_parameters():
            freezes = [plan.freeze for plan in self.plans(name)]
            if not parameter.requires_grad or any(until is True for until in freezes):
                parameter.requires_grad_(False)
                continue
            if self.train.tsa_iter > 0 and not name.startswith(self.part('fusion')):
                freezes.append(self.train.tsa_iter)  # EDVR trains its attention alone at first
            held[name] = max(map(int, freezes), default=0)
        if all(held.values()):
            raise UserError(
                f'nothing of {type(self.net).__name__} is trained' + (' at first' if held else ''),
                where='train.parts',
                value=', '.join(name for name, plan in self.parts.items() if plan.freeze) or 'all of it is frozen',
                fix='freeze less',
            )
        return {name: until for name, until in held.items() if until}

    def hold(self, iteration: int) -> None:
        """Freezes for step number `iteration` (from 1) what is frozen at first, and lets go what is not any more."""
        held = frozenset(name for name, until in self.held.items() if iteration <= until)
        if held == self.held_now:
            return
        self.held_now = held
        for name, parameter in self.named.items():
            parameter.requires_grad_(name not in held)
        self.runner = self._runner()

    def _groups(self) -> list[dict[str, Any]]:
        """Parameters by learning-rate multiplier: `dcn_lr_mul` of deformable convolutions, `lr_mul` by name or part."""
        deformable = self.part('deformable')
        groups: dict[float, list[Tensor]] = {}
        for name, parameter in self.named.items():
            prefix = max((key for key in self.train.lr_mul if name.startswith(key)), key=len, default=None)
            factor = 1.0 if prefix is None else self.train.lr_mul[prefix]
            factor *= self.train.dcn_lr_mul if deformable and name.startswith(deformable) else 1
            factor *= math.prod(plan.lr_mul for plan in self.plans(name))
            groups.setdefault(factor, []).append(parameter)
        return [{'params': parameters, 'lr_mul': factor} for factor, parameters in groups.items()]

    def _save_memory(self) -> None:
        """Parts whose activations are computed again for the backward pass, or kept in the memory of the CPU."""
        plans: dict[str, bool] = {}  # name of a module -> whether what it keeps is moved
        for part, prefixes in getattr(self.net, 'parts', {}).items():
            plan = self.parts.get(part, PartOptions())
            again = self.train.activation_checkpoint if plan.recompute is None else plan.recompute
            if again or plan.offload:  # of what is computed again nothing is left to move
                plans |= dict.fromkeys(_modules_of(self.net, prefixes), plan.offload)
        for path, module in list(self.net.named_modules()):
            for method, starts in getattr(module, 'methods', {}).items():
                inside = tuple(f'{path}.{start}' if path else start for start in starts)
                names = [name for name in plans if f'{name}.'.startswith(inside)]
                if names and hasattr(module, method):
                    setattr(module, method, _saving(module, method, plans[names[0]]))
                    plans = {name: plan for name, plan in plans.items() if name not in names}
        for name in _apart(self.net, plans):
            module = self.net.get_submodule(name)
            if any(p.requires_grad for p in module.parameters()):
                module.forward = _saving(module, 'forward', plans[name])  # type: ignore[method-assign]

    def _runner(self) -> Callable[..., Any]:
        """The network as training calls it: averaging gradients over ranks."""
        if distributed.world_size() == 1 or not any(p.requires_grad for p in self.net.parameters()):
            return self.net
        return DistributedDataParallel(
            self.net,
            device_ids=[self.device.index] if self.device.type == 'cuda' else None,
            gradient_as_bucket_view=True,
            static_graph=self.train.static_graph,
        )

    def compile(self, sample: Mapping[str, Tensor]) -> None:
        """Compiles the network's blocks, and leaves them as they were where a trial forward and backward fails."""
        blocks = compile_blocks(self.net)
        try:
            total({name: value.mean() for name, value in self.forward(sample).items()}).backward()
        except Exception as error:  # of whatever compiler there is; training without one is the answer to all of them
            self.messages.append(f'notice: train.compile does not work here: {first_line(error)}')
            for block in blocks:
                block._compiled_call_impl = None
        finally:
            self.optimizer.zero_grad(set_to_none=True)

    # one step

    def forward(self, sample: Mapping[str, Any]) -> Result:
        """What the network makes of a sample, computed in the precision of ``train.amp``, in float32."""
        return apply(self.net, sample, amp=self.dtype, call=self.runner)

    def learning_rate(self, iteration: int, scale: float = 1) -> float:
        """Sets the rate of update number `iteration` (from 1) and returns that of ``lr_mul: 1``.

        While it warms up, the rate rises in a line to the one that the options name, whatever the schedule says of
        these iterations, as in BasicSR.
        """
        warmup, base = self.train.warmup_iter, 0.0
        for group in self.optimizer.param_groups:
            lr = group['initial_lr']
            if iteration < warmup:
                lr *= iteration / warmup
            elif self.schedule:
                lr = self.schedule(lr, iteration - 1)
            group['lr'] = lr * scale if group['lr_mul'] else 0.0  # whatever the schedule's lowest rate is
            base = max(base, group['lr'] / group['lr_mul'] if group['lr_mul'] else 0)
        return base

    def begin(self, iteration: int, lr_scale: float) -> None:
        """Before the gradients of step number `iteration` (from 1)."""
        self.hold(iteration)
        self.learning_rate(iteration, lr_scale)
        self.optimizer.zero_grad(set_to_none=True)

    def gradients(self, pieces: Sequence[Any], losses: Callable[[Any], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Backward passes over micro-batches; returns the loss terms averaged over them."""
        share = 1 / len(pieces)
        found: dict[str, Tensor] = {}
        for number, piece in enumerate(pieces, 1):
            alone = isinstance(self.runner, DistributedDataParallel) and number < len(pieces)
            with self.runner.no_sync() if alone else contextlib.nullcontext():  # type: ignore[attr-defined]
                terms = {name: share * term for name, term in losses(piece).items()}
                self.scaler.scale(total(terms)).backward()
            found = {name: term.detach() + found.get(name, 0) for name, term in terms.items()}
        return found

    def judge(self, terms: Iterable[Tensor]) -> tuple[Tensor, bool]:
        """Whether losses or gradients are NaN or Inf, on the device; and whether this is the loss scale's fault."""
        self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self.named.values() if p.grad is not None]
        self.norm = torch.nn.utils.get_total_norm(gradients)
        losses = torch.stack(list(terms))
        if self.scaler.is_enabled() and self.scaler.get_scale() > SMALLEST_LOSS_SCALE:
            # the scaler skips this update and lowers its scale
            return ~torch.isfinite(losses.sum()), bool(~torch.isfinite(self.norm))
        return ~torch.isfinite(losses.sum() + self.norm), False

    def update(self, overflow: bool) -> None:
        """Moves the weights; with `overflow` only the loss scale."""
        if self.train.adaptive_clip and not overflow:
            clip_adaptively(self.named.values(), self.train.adaptive_clip)
        if self.train.grad_clip and not overflow:
            torch.nn.utils.clip_grads_with_norm_(self.named.values(), self.train.grad_clip, self.norm)
        self.scaler.step(self.optimizer)
        if self.ema is not None and not overflow:
            with torch.no_grad():
                ema: list[Tensor] = [p for name, p in self.ema.named_parameters() if name in self.named]
                torch._foreach_lerp_(ema, [p.detach() for p in self.named.values()], 1 - self.ema_decay)
                for average, buffer in zip(self.ema.buffers(), self.net.buffers(), strict=True):
                    average.copy_(buffer)

    def worst_gradients(self, count: int = 5) -> list[str]:
        """Parameters with NaN or Inf in their gradients, the most first."""
        broken = {name: int((~torch.isfinite(p.grad)).sum()) for name, p in self.named.items() if p.grad is not None}
        names = sorted((n for n in broken if broken[n]), key=lambda n: -broken[n])
        return [f'{name} ({broken[name]} of {self.named[name].numel()})' for name in names[:count]]

    def load_state(self, moments: dict[str, Any], scaler: dict[str, Any] | None) -> None:
        """Takes over the optimiser's moments and the loss scale; the rates stay those of the options."""
        self._check_moments(moments)
        rates = [{key: group[key] for key in ('lr', 'initial_lr', 'lr_mul')} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(moments)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group.update(rate)
        if self.scaler.is_enabled() and scaler:
            self.scaler.load_state_dict(scaler)

    def _check_moments(self, moments: dict[str, Any]) -> None:
        """Raises UserError where an optimiser's moments are of other parameters than ours."""
        own = [list(group['params']) for group in self.optimizer.param_groups]
        saved = [group['params'] for group in moments['param_groups']]
        fits = list(map(len, own)) == list(map(len, saved)) and all(
            moments['state'][i]['exp_avg'].shape == parameter.shape
            for numbers, parameters in zip(saved, own, strict=True)
            for i, parameter in zip(numbers, parameters, strict=True)
            if 'exp_avg' in moments['state'].get(i, {})
        )
        if not fits:
            raise UserError(
                "the optimiser's moments are of other groups of parameters",
                where='training state',
                value=f'groups of {list(map(len, saved))} parameters, these options make {list(map(len, own))}',
                fix='the lr_mul and freeze that the run had, or path.pretrain_network_g and a new run',
            )


def _modules_of(net: nn.Module, prefixes: tuple[str, ...], name: str = '') -> list[str]:
    """The outermost modules, of those that compute something, all of whose parameters belong to a part."""
    found = []
    for child, module in net.named_children():
        path = f'{name}{child}'
        inside = f'{path}.'.startswith(prefixes)
        if inside and not isinstance(module, nn.ModuleDict | nn.ModuleList):
            found.append(path)
        elif inside or any(prefix.startswith(f'{path}.') for prefix in prefixes):
            found += _modules_of(module, prefixes, f'{path}.')
    return found


def _apart(net: nn.Module, names: Iterable[str]) -> list[str]:
    """`names` of modules without those within others. A module that consists of others (a network made of networks) is
    left to them: computed again at once it would take the memory that is to be saved.
    """
    chosen: list[str] = []
    for name in sorted(names, key=len):
        inner = tuple(f'{other}.' for other in names if other.startswith(f'{name}.'))
        parameters = [f'{name}.{key}' for key, _ in net.get_submodule(name).named_parameters()]
        made_of_them = bool(inner) and all(key.startswith(inner) for key in parameters)
        if not made_of_them and not name.startswith(tuple(f'{other}.' for other in chosen)):
            chosen.append(name)
    return chosen


@contextlib.contextmanager
def _averages_kept(module: nn.Module) -> Iterator[None]:
    """Inside, what normalisation averages over batches is not counted a second time."""
    norms = [norm for norm in module.modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm)]
    kept = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    try:
        yield
    finally:
        for buffer, value in kept:
            buffer.copy_(value)


def _saving(module: nn.Module, method: str, offload: bool) -> Callable[..., Any]:
    """A method of a module that keeps what the backward pass needs on the CPU, or computes it again."""
    forward = getattr(module, method)

    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        if offload:
            with torch.autograd.graph.save_on_cpu():
                return forward(*args, **kwargs)
        twice: dict[str, Any] = {'context_fn': lambda: (contextlib.nullcontext(), _averages_kept(module))}
        return recompute(forward, *args, use_reentrant=False, **twice, **kwargs)

    run.piecewise = not offload  # type: ignore[attr-defined]  # see parts.propagation.in_pieces
    return run
