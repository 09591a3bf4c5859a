"""The training task: networks built by name, losses by name, learners and phases; predicting, saving and resuming."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes import checkpoint
from votes.archs import build_network, load_weights
from votes.archs.contract import Result, apply, promise
from votes.archs.fields import FIELDS
from votes.archs.parts.blocks import enlarged, in_layout
from votes.data.sensed import check_complete, check_dsm
from votes.data.transforms import orient
from votes.models.learner import Learner
from votes.models.optimisation import Outcome, Phase, take_step
from votes.models.terms import Beside, build_terms, target_of
from votes.ops.deform_conv import offsets_watched
from votes.ops.exporting import autocast
from votes.options import Options, PartOptions
from votes.processes import distributed

Batch = dict[str, Any]


class RestorationModel:
    """Trains and evaluates any network that keeps the contract, with a discriminator where options name one.

    Args:
        opt: checked options; without a `train` section the model only predicts.
        device: where the networks live.

    Batches hold fields (see archs.fields): 'lq' (B, T, 3, h, w), 'gt' (B, 3, H, W) of the restored frame or
    (B, T, 3, H, W) of all, uint8 or float in [0, 1], and side information.

    Attributes:
        net: the network that restores; `generator`, which is `learners['g']`, trains it, and `learners['d']` the
            discriminator.
        said: what the network sees, with the supervision that the options ask for.
        messages: what the user is told.
        grid: where pixels of the training data's LQ lie on GT ('centre', 'origin'; None: not known), kept with weights.
    """

    def __init__(self, opt: Options, device: torch.device):
        self.opt, self.device = opt, device
        self.messages: list[str] = []
        self.grid: str | None = None
        self.net = build_network({'type': opt.network_g.type, **opt.network_g.args})
        self.said = promise(self.net)
        self.parts = self._parts()
        self._load_weights()
        self.net_d = self._discriminator()
        plain = opt.train is not None and not opt.train.channels_last
        layout = torch.contiguous_format if plain else torch.channels_last
        for net in filter(None, (self.net, self.net_d)):
            in_layout(net.to(device), layout)
        self.learners: dict[str, Learner] = {}
        if opt.train is not None:
            self._learn(opt)

    def _learn(self, opt: Options) -> None:
        train = opt.training
        self.terms = build_terms(train, self.said)
        for term in self.terms:
            term.loss.to(self.device)
        supervised = {t.name: {'output': t.output, 'target': t.target, 'frame': t.frame} for t in self.terms}
        self.said = dataclasses.replace(self.said, supervised=supervised)
        self.net.train()
        self.generator = Learner(self.net, train, train.optim_g, ema_decay=train.ema_decay, parts=self.parts)
        self.learners['g'] = self.generator
        if self.net_d is not None:
            self.net_d.train()
            assert train.optim_d is not None
            self.learners['d'] = Learner(self.net_d, train, train.optim_d, ema_decay=train.ema_decay_d)
        if train.compile:
            self.generator.compile(self._trial())
        for learner in self.learners.values():
            self.messages += learner.messages

    # files that options name

    def _parts(self) -> dict[str, PartOptions]:
        """What the options say about parts of the network, with the weights of ``path.parts``; ``path.bin_model`` are
        those of the part `dsm`.
        """
        parts = dict(self.opt.train.parts) if self.opt.train else {}
        files = {'dsm': self.opt.path.bin_model, **self.opt.path.parts}
        for name, file in files.items():
            if file:
                plan = parts.get(name, PartOptions())
                parts[name] = plan.model_copy(update={'weights': plan.weights or file})
        return parts

    def _load_weights(self) -> None:
        """Loads what `path` and `train.parts` name; the whole network last: it has all its parts."""
        path = self.opt.path
        for name, plan in self.parts.items():
            if plan.weights:
                prefixes = self.said.parts[name]
                checkpoint.load_part(self.net, prefixes, plan.weights)
                trains = any(p.requires_grad for key, p in self.net.named_parameters() if key.startswith(prefixes))
                frozen = plan.freeze is True or not trains
                self.messages.append(f'{name.upper()}: {plan.weights}' + (', frozen' if frozen else ''))
        if path.pretrain_network_g:
            mismatch = load_weights(self.net, path.pretrain_network_g, path.strict_load_g, path.param_key_g)
            said = f'weights: {path.pretrain_network_g}'
            if mismatch.key == 'params_ema' and not path.param_key_g:
                said += ' (params_ema, the average; param_key_g: params for the others)'
            self.messages.append(said + (f', not all of them fit:\n{mismatch}' if mismatch else ''))
        stored = self.opt.datasets['train'].args.get('dataroot_dfm') if self.opt.train else None
        if stored:
            if 'difference' in self.said.inputs:
                check_complete(stored)
            else:
                check_dsm(stored, self.net.sensor)  # type: ignore[arg-type]
            self.messages.append(f'degradation maps: {stored}, the DSM is not run in training')

    def _discriminator(self) -> nn.Module | None:
        named, path = self.opt.network_d, self.opt.path
        if named is None or self.opt.train is None:
            return None
        net = build_network({'type': named.type, **named.args})
        if path.pretrain_network_d:
            load_weights(net, path.pretrain_network_d, path.strict_load_d, path.param_key_d)
            self.messages.append(f'discriminator: {path.pretrain_network_d}')
        return net

    # training

    def sample_of(self, batch: Batch) -> Batch:
        """The fields of a batch on the device: pictures float in [0, 1], (B, T, 3, h, w)."""
        sample = {name: x.to(self.device, non_blocking=True) for name, x in batch.items() if name in FIELDS}
        if 'turn' in batch:
            sample = orient(sample, batch['turn'].to(self.device, non_blocking=True))
        for name in sample:
            if FIELDS[name].kind == 'picture':
                frames = sample[name].float().div_(255) if sample[name].dtype == torch.uint8 else sample[name]
                sample[name] = frames.unsqueeze(1) if frames.dim() == 4 else frames
        return sample

    def step(
        self,
        batch: Batch,
        iteration: int,
        *,
        lr_scale: float = 1,
        stop: Callable[[], bool] = lambda: False,
        want_gain: bool = False,
        void: bool = False,
    ) -> Outcome:
        """Optimisation step number `iteration` (from 1), see `take_step`.

        Args:
            batch: ``accumulate`` times batch_size_per_gpu samples.
            stop: whether this process was asked to stop; the outcome says whether any was.
            want_gain: the outcome has the PSNR in dB over the last baseline.
            void: `batch` only stands for samples that did not come: no rank updates.
        """
        size = max(1, len(batch['lq']) // self.opt.training.accumulate)
        sample = self.sample_of(batch)
        parts = zip(*(value.split(size) for value in sample.values()), strict=True)
        pieces = [dict(zip(sample, part, strict=True)) for part in parts]
        gains: list[Tensor] = []
        watched = any(term.says('of_offsets') for term in self.terms)

        def losses(piece: Batch) -> dict[str, Tensor]:
            with offsets_watched(watched) as offsets:
                result = self.generator.forward(piece)
            piece['result'] = {name: value.detach() for name, value in result.items()}
            if want_gain:
                gains.append(self._gain(piece))
            return self.losses(result, piece, iteration, offsets)

        phases, seed = self._phases(losses, iteration), self.opt.manual_seed
        outcome = take_step(phases, pieces, iteration, seed=seed, lr_scale=lr_scale, stop=stop, void=void)
        outcome.gain = torch.stack(gains).mean() if gains else None
        return outcome

    def _phases(self, losses: Callable[[Batch], dict[str, Tensor]], iteration: int) -> list[Phase]:
        """The generator, then the discriminator; the latter alone in iterations that options keep for it."""
        if self.net_d is None:
            return [Phase(self.generator, losses)]
        train = self.opt.training
        both = iteration > train.net_d_init_iters and iteration % train.net_d_iters == 0
        phases = [Phase(self.generator, losses)] if both else []
        return [*phases, Phase(self.learners['d'], self._judged)]

    def losses(
        self, result: Result, piece: Batch, iteration: int = 1, offsets: Sequence[Tensor] = ()
    ) -> dict[str, Tensor]:
        """The generator's loss terms for what the network returned of a micro-batch.

        Args:
            offsets: of its deformable convolutions, for losses that look at them.
        """
        found: dict[str, Tensor] = {}
        beside = Beside(self._judge, functools.cache(lambda: self._averaged(piece)), offsets)
        for term in self.terms:
            if term.factor(iteration):
                found |= term.values(result, piece, self.said, self.opt.scale, beside, iteration)
        later = {term.output for term in self.terms if not term.factor(iteration)} & result.keys()
        if later and found and distributed.world_size() > 1:
            # ranks wait for gradients of every parameter, also of those that only another time's term needs
            name, value = next(iter(found.items()))
            found[name] = value + sum(0 * result[output].float().sum() for output in later)
        return found

    @torch.no_grad()
    def _averaged(self, piece: Batch) -> Result:
        """What the moving average of the weights makes of a micro-batch."""
        ema = self.generator.ema
        assert ema is not None
        return apply(ema, piece, amp=self.generator.dtype)

    def _judge(self, pictures: Tensor) -> Tensor:
        """The discriminator's logits of (B, 3, H, W), for gradients of the pictures alone."""
        assert self.net_d is not None
        self.net_d.requires_grad_(False)
        with autocast(self.device.type, self.learners['d'].dtype):
            logits: Tensor = self.net_d(pictures).float()
        self.net_d.requires_grad_(True)
        return logits

    def _judged(self, piece: Batch) -> dict[str, Tensor]:
        """The discriminator's loss terms: it tells GT from what the generator made before its update."""
        if 'result' not in piece:
            with torch.no_grad():
                piece['result'] = self.generator.forward(piece)
        found: dict[str, Tensor] = {}
        for term in (term for term in self.terms if term.says('adversarial')):
            real = term.wanted(piece, self.said, self.opt.scale)
            logits = []
            for pictures in (real, piece['result'][term.output].flatten(0, 1)):
                with autocast(self.device.type, self.learners['d'].dtype):
                    logits.append(self.learners['d'].runner(term.loss.shown(pictures)).float())  # type: ignore[operator]
            terms = term.loss.of_discriminator(*logits)  # type: ignore[operator]
            found |= {f'{term.name}_d_{kind}': value for kind, value in terms.items()}
        return found

    def _gain(self, piece: Batch) -> Tensor:
        target = self.target(piece['gt'])
        lq = piece['lq'][:, self.said.restored(piece['lq'].shape[1])].flatten(0, 1)
        baseline = list(self.baselines(lq).values())[-1].unflatten(0, target.shape[:2])
        restored = piece['result']['out'].clamp(0, 1)
        return 10 * torch.log10(((baseline - target) ** 2).mean() / ((restored - target) ** 2).mean())

    def offset_means(self) -> dict[str, Tensor]:
        """Mean |offset| in pixels of each deformable convolution in the last step, on the device."""
        found = {name: getattr(module, 'offset_mean', None) for name, module in self.net.named_modules()}
        return {name: mean for name, mean in found.items() if mean is not None}

    def _trial(self) -> dict[str, Tensor]:
        """A sample of the shapes of training, of noise."""
        data = self.opt.datasets['train']
        side = int(data.args.get('gt_size', 128)) // self.opt.scale
        count, asked = data.batch_size_per_gpu, int(data.args.get('num_frame', self.said.frames(least=5)))
        frames = (asked if asked > 0 else self.said.frames(7)) * (2 if data.args.get('flip_sequence') else 1)
        sample = {'lq': torch.rand(count, frames, 3, side, side, device=self.device)}
        names = [*self.said.inputs, *(['difference'] if data.args.get('dataroot_dfm') else [])]
        for name in dict.fromkeys(names):
            field = FIELDS[name]
            channels = 2 if field.kind == 'vectors' else 1
            shape = (count, frames, channels, side, side) if name != 'difference' else (count, 1, side, side)
            sample[name] = torch.zeros(shape if field.spatial else (count, frames), device=self.device)
        return sample

    # prediction

    def target(self, gt: Tensor) -> Tensor:
        """What the restored frames are measured against: (3, H, W) of one frame, or (B, T, 3, H, W) of a sample.

        GT itself, whatever losses compare (GT that was sharpened, say); of a network whose frames are as small as LQ,
        GT at that size as its losses name it.
        """
        name = 'gt'
        if self.said.scale != self.opt.scale:
            named = [entry.get('target', 'gt') for entry in self.said.supervised.values()]
            name = next(target for target in named if target.startswith('gt_small'))
        if gt.dim() == 3:
            return target_of(name, gt[None, None], self.said, self.opt.scale)[0, 0]
        return target_of(name, gt, self.said, self.opt.scale)

    def baselines(self, lq: Tensor) -> dict[str, Tensor]:
        """Restorations that need no network: compressed frames (B, 3, h, w) or (3, h, w) at the output's size."""
        if self.said.scale == 1:
            return {'LQ': lq}
        frames = lq if lq.dim() == 4 else lq[None]
        size = lq.shape[-2] * self.said.scale, lq.shape[-1] * self.said.scale
        bilinear = F.interpolate(frames, size, mode='bilinear', align_corners=False)
        found = {'bilinear': bilinear, 'bicubic': enlarged(frames, size)}
        return found if lq.dim() == 4 else {name: picture[0] for name, picture in found.items()}

    @property
    def best_net(self) -> nn.Module:
        """The network that predicts: the moving average of the weights where there is one."""
        ema = self.generator.ema if self.learners else None
        return self.net if ema is None else ema

    @contextlib.contextmanager
    def predicting(self) -> Iterator[nn.Module]:
        """The network that predicts, in evaluation mode; afterwards training goes on."""
        net = self.best_net
        was_training = net.training
        net.eval()
        compiles = self.opt.train is not None and self.opt.train.compile
        try:
            # frames to validate on are of many sizes: they are not compiled for
            with torch.compiler.set_stance('force_eager') if compiles else contextlib.nullcontext():
                yield net
        finally:
            net.train(was_training)

    # files

    def weights(self) -> dict[str, dict[str, Any]]:
        """What the files of a checkpoint hold, by their names: 'net_g' with 'params', 'params_ema' where there is a
        moving average, and 'network_g'; 'net_d' of a discriminator.
        """
        found: dict[str, dict[str, Any]] = {'net_g': {'params': self.net.state_dict()}}
        for name, learner in self.learners.items():
            found[f'net_{name}'] = {'params': learner.net.state_dict()}
            if learner.ema is not None:
                found[f'net_{name}']['params_ema'] = learner.ema.state_dict()
        named = self.opt.network_g
        found['net_g']['network_g'] = {'type': named.type, **named.args}
        if self.grid:
            found['net_g']['grid'] = self.grid
        return found

    def state(self) -> dict[str, Any]:
        """What training needs besides the weights to go on exactly; BasicSR's keys (schedules have no state here)."""
        return {
            'optimizers': [learner.optimizer.state_dict() for learner in self.learners.values()],
            'schedulers': [],
            'scalers': {name: learner.scaler.state_dict() for name, learner in self.learners.items()},
        }

    def resume(self, weights: dict[str, Path], state: dict[str, Any]) -> None:
        """Takes over what files of weights, by name, and `state` said when they were saved."""
        scalers = state.get('scalers') or {'g': state.get('scaler')}  # of the version before, which had one
        for (name, learner), moments in zip(self.learners.items(), state['optimizers'], strict=True):
            checkpoint.load_network(learner.net, weights[f'net_{name}'], param_key='params')
            if learner.ema is not None:
                checkpoint.load_network(learner.ema, weights[f'net_{name}'], param_key='params_ema')
            learner.load_state(moments, scalers.get(name))
