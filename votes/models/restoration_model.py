"""What every training task does: build a network, take optimisation steps, predict frames, save and resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from votes import checkpoint, distributed
from votes.archs import build_network
from votes.archs.padding import forward_padded
from votes.errors import UserError
from votes.options import Options
from votes.registry import LOSSES, OPTIMIZERS, SCHEDULERS

Batch = dict[str, Any]


class RestorationModel:
    """A network that restores the centre frame of a window. Subclasses say what the loss compares.

    Args:
        opt: checked options; without a `train` section the model only predicts.
        device: where the network lives.

    Batches hold uint8 frames: 'lq' (B, T, 3, h, w) and 'gt' (B, 3, H, W) or (B, T, 3, H, W).
    """

    def __init__(self, opt: Options, device: torch.device):
        self.opt, self.device = opt, device
        self.net = build_network({'type': opt.network_g.type, **opt.network_g.args})
        self.messages: list[str] = []
        self.load_weights()
        self.net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.forward: nn.Module = self.net
        if opt.train is not None:
            self._prepare_training()

    # what a subclass may change

    def load_weights(self) -> None:
        """Loads what `path` names."""
        path = self.opt.path
        if path.pretrain_network_g:
            mismatch = checkpoint.load_network(self.net, path.pretrain_network_g, path.strict_load_g, path.param_key_g)
            self.messages.append(
                f'weights: {path.pretrain_network_g}' + (f', not all of them fit:\n{mismatch}' if mismatch else '')
            )

    def losses(self, lq: Tensor, gt: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Loss terms of float frames in [0, 1], and the restored centre frames."""
        output = self.forward(lq)
        return {'l_pix': self.pixel_loss(output, gt)}, output

    def output_of(self, result: Any) -> Tensor:
        """The restored centre frame in what the network returned."""
        return result

    def target(self, gt: Tensor) -> Tensor:
        """What the restored centre frame is compared with, (B, 3, H, W) in [0, 1]."""
        return gt

    def baselines(self, lq: Tensor) -> dict[str, Tensor]:
        """Restorations that need no network: the compressed centre frame (B, 3, h, w) brought to the output's size."""
        scale = self.opt.scale
        # antialias selects the bicubic kernel of MATLAB and Pillow (a = -0.5); it changes nothing else when enlarging
        return {
            'bilinear': F.interpolate(lq, scale_factor=scale, mode='bilinear', align_corners=False),
            'bicubic': F.interpolate(lq, scale_factor=scale, mode='bicubic', align_corners=False, antialias=True).clamp(
                0, 1
            ),
        }

    # training

    def _prepare_training(self) -> None:
        train = self.opt.train
        assert train is not None
        self.net.train()
        self.pixel_loss = LOSSES.get(train.pixel_opt.type)(**train.pixel_opt.args)
        self.optimizer = OPTIMIZERS.get(train.optim_g.type)(
            self._parameter_groups(train.dcn_lr_mul), **train.optim_g.args
        )
        for group in self.optimizer.param_groups:
            group['initial_lr'] = group['lr'] * group['lr_mul']
        self.schedule = train.scheduler and SCHEDULERS.get(train.scheduler.type)(**train.scheduler.args)
        if distributed.world_size() > 1:
            self.forward = DistributedDataParallel(
                self.net,
                device_ids=[self.device.index] if self.device.type == 'cuda' else None,
                gradient_as_bucket_view=True,
            )

    def _parameter_groups(self, dcn_lr_mul: float) -> list[dict[str, Any]]:
        """All parameters that train; those of deformable convolutions with their own learning-rate multiplier."""
        deformable = {id(p) for conv in self._deformable_convs() for p in conv.parameters()}
        trained = [p for p in self.net.parameters() if p.requires_grad]
        groups = [
            {'params': [p for p in trained if id(p) not in deformable], 'lr_mul': 1.0},
            {'params': [p for p in trained if id(p) in deformable], 'lr_mul': dcn_lr_mul},
        ]
        return [group for group in groups if group['params']]

    def learning_rate(self, iteration: int) -> float:
        """Sets the rate of update number `iteration` (from 1) and returns the first group's."""
        train = self.opt.train
        assert train is not None
        for group in self.optimizer.param_groups:
            lr = self.schedule(group['initial_lr'], iteration - 1) if self.schedule else group['initial_lr']
            group['lr'] = lr * min(1.0, iteration / train.warmup_iter) if train.warmup_iter > 0 else lr
        return float(self.optimizer.param_groups[0]['lr'])

    def step(self, batch: Batch, iteration: int, want_gain: bool = False) -> dict[str, Tensor]:
        """One optimisation step. Returns loss terms on the device, and with `want_gain` the batch's PSNR in dB over the
        first baseline ('gain')."""
        self.learning_rate(iteration)
        lq, gt = self.to_float(batch['lq']), self.to_float(batch['gt'])
        self.optimizer.zero_grad(set_to_none=True)
        terms, output = self.losses(lq, gt)
        torch.stack(list(terms.values())).sum().backward()
        assert self.opt.train is not None
        if iteration <= self.opt.train.tsa_iter:
            for name, parameter in self.net.named_parameters():
                if not name.startswith('fusion.'):
                    parameter.grad = None  # EDVR trains its attention alone at first; Adam leaves these untouched
        self.optimizer.step()
        log = {name: term.detach() for name, term in terms.items()}
        if want_gain:
            log['gain'] = self._gain(lq, gt, output.detach())
        return log

    def _gain(self, lq: Tensor, gt: Tensor, output: Tensor) -> Tensor:
        target = self.target(gt)
        baseline = list(self.baselines(lq[:, lq.shape[1] // 2]).values())[-1]
        return 10 * torch.log10(((baseline - target) ** 2).mean() / ((output.clamp(0, 1) - target) ** 2).mean())

    def _deformable_convs(self) -> list[Any]:
        find = getattr(self.net, 'deformable_convs', None)
        return list(find().values()) if find else []

    def offset_mean(self) -> Tensor | None:
        """The largest mean |offset| in pixels of the deformable convolutions in the last step."""
        means = [conv.offset_mean for conv in self._deformable_convs() if conv.offset_mean is not None]
        return torch.stack(means).max() if means else None

    # prediction

    def to_float(self, frames: Tensor) -> Tensor:
        """uint8 -> float32 in [0, 1] on the device."""
        return frames.to(self.device, non_blocking=True).float().div_(255)

    @torch.no_grad()
    def predict(self, lq: Tensor) -> Tensor:
        """Float windows (B, T, 3, h, w) of any size -> restored centre frames in [0, 1]."""
        was_training = self.net.training
        self.net.eval()
        output = forward_padded(self.net, lq, self.output_of).clamp(0, 1)
        self.net.train(was_training)
        return output

    # files

    def save(self, folder: Path, iteration: int | str, extra: dict[str, Any] | None = None) -> None:
        """Writes models/net_g_N.pth, and with `extra` training_states/N.state."""
        options = {'type': self.opt.network_g.type, **self.opt.network_g.args}
        checkpoint.save(
            {'params': {k: v.detach().cpu() for k, v in self.net.state_dict().items()}, 'network_g': options},
            folder / 'models' / f'net_g_{iteration}.pth',
        )
        if extra is not None:
            checkpoint.save(
                {'iter': iteration, 'optimizers': [self.optimizer.state_dict()], **extra},
                folder / 'training_states' / f'{iteration}.state',
            )

    def resume(self, state_path: Path) -> dict[str, Any]:
        """Loads a training state and the weights that belong to it; returns the state."""
        state = checkpoint.load(state_path)
        if not {'iter', 'optimizers'} <= state.keys():
            raise UserError(
                'not a training state',
                where=state_path,
                value=f'keys: {", ".join(list(state)[:5])}',
                fix='path.resume_state names a file of training_states/',
            )
        checkpoint.load_network(self.net, state_path.parent.parent / 'models' / f'net_g_{state["iter"]}.pth')
        self.optimizer.load_state_dict(state['optimizers'][0])
        return state
