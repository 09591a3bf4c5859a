"""What every training task does: build a network, take optimisation steps, predict frames, save and resume."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes import checkpoint
from votes.archs import build_network
from votes.archs.parts.padding import forward_padded
from votes.data.transforms import orient
from votes.models.optimisation import Optimisation, Outcome
from votes.options import Options
from votes.registry import LOSSES

Batch = dict[str, Any]


def enlarged(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Frames (B, 3, h, w) in [0, 1] brought to `size` by bicubic interpolation."""
    # antialias selects the kernel of MATLAB and Pillow (a = -0.5); it changes nothing else when enlarging
    return F.interpolate(frames, size, mode='bicubic', align_corners=False, antialias=True).clamp(0, 1)


class RestorationModel:
    """A network that restores the centre frame of a window. Subclasses say what the loss compares.

    Args:
        opt: checked options; without a `train` section the model only predicts.
        device: where the network lives.

    Batches hold uint8 frames: 'lq' (B, T, 3, h, w) and 'gt' (B, 3, H, W) or (B, T, 3, H, W); and with `dataroot_dfm`
    what the DSM found, 'difference' (B, 1, h, w).
    """

    def __init__(self, opt: Options, device: torch.device):
        self.opt, self.device = opt, device
        self.net = build_network({'type': opt.network_g.type, **opt.network_g.args})
        self.messages: list[str] = []
        self.load_weights()
        plain = opt.train is not None and not opt.train.channels_last
        layout = torch.contiguous_format if plain else torch.channels_last
        self.net.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        if opt.train is not None:
            self.net.train()
            self.pixel_loss = LOSSES.get(opt.train.pixel_opt.type)(**opt.train.pixel_opt.args)
            self.optimisation = Optimisation(opt, self.net)
            self.messages += self.optimisation.messages

    # what a subclass may change

    def load_weights(self) -> None:
        """Loads what `path` names."""
        path = self.opt.path
        if path.pretrain_network_g:
            mismatch = checkpoint.load_network(self.net, path.pretrain_network_g, path.strict_load_g, path.param_key_g)
            self.messages.append(
                f'weights: {path.pretrain_network_g}' + (f', not all of them fit:\n{mismatch}' if mismatch else '')
            )

    def losses(self, lq: Tensor, gt: Tensor, *difference: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Loss terms of float frames in [0, 1], and the restored centre frames."""
        output = self.run(lq, *difference)
        return {'l_pix': self.pixel_loss(output, gt)}, output

    def output_of(self, result: Any) -> Tensor:
        """The restored centre frame in what the network returned."""
        return result

    def target(self, gt: Tensor) -> Tensor:
        """What the restored centre frame is compared with, (B, 3, H, W) in [0, 1]."""
        return gt

    def baselines(self, lq: Tensor) -> dict[str, Tensor]:
        """Restorations that need no network: the compressed centre frame (B, 3, h, w) brought to the output's size."""
        size = lq.shape[-2] * self.opt.scale, lq.shape[-1] * self.opt.scale
        return {
            'bilinear': F.interpolate(lq, size, mode='bilinear', align_corners=False),
            'bicubic': enlarged(lq, size),
        }

    # training

    def run(self, *inputs: Tensor) -> Any:
        """What the network makes of windows in training: in the precision of ``train.amp``, returned in float32."""
        return self.optimisation.forward(*inputs)

    def step(
        self,
        batch: Batch,
        iteration: int,
        *,
        lr_scale: float = 1,
        stop: Callable[[], bool] = lambda: False,
        want_gain: bool = False,
    ) -> Outcome:
        """Optimisation step number `iteration` (from 1), see Optimisation.step.

        Args:
            batch: ``accumulate`` times batch_size_per_gpu samples.
            stop: whether this process was asked to stop; the outcome says whether any was.
            want_gain: the outcome has the PSNR in dB over the last baseline.
        """
        if 'turn' in batch:
            moved = {k: v.to(self.device, non_blocking=True) for k, v in batch.items() if isinstance(v, Tensor)}
            batch = orient(moved, moved['turn'])
        size = max(1, len(batch['lq']) // self.optimisation.train.accumulate)
        parts = zip(*(batch[name].split(size) for name in ('lq', 'gt', 'difference') if name in batch), strict=True)
        gains = []

        def losses(part: tuple[Tensor, ...]) -> dict[str, Tensor]:
            lq, gt = map(self.to_float, part[:2])
            terms, output = self.losses(lq, gt, *(p.to(self.device, non_blocking=True) for p in part[2:]))
            if want_gain:
                gains.append(self._gain(lq, gt, output.detach()))
            return terms

        outcome = self.optimisation.step(list(parts), losses, iteration, lr_scale, stop)
        outcome.gain = torch.stack(gains).mean() if gains else None
        return outcome

    def _gain(self, lq: Tensor, gt: Tensor, output: Tensor) -> Tensor:
        target = self.target(gt)
        baseline = list(self.baselines(lq[:, lq.shape[1] // 2]).values())[-1]
        return 10 * torch.log10(((baseline - target) ** 2).mean() / ((output.clamp(0, 1) - target) ** 2).mean())

    def offset_means(self) -> dict[str, Tensor]:
        """Mean |offset| in pixels of each deformable convolution in the last step, on the device."""
        find = getattr(self.net, 'deformable_convs', None)
        convs = find() if find else {}
        return {name: conv.offset_mean for name, conv in convs.items() if conv.offset_mean is not None}

    # prediction

    def to_float(self, frames: Tensor) -> Tensor:
        """uint8 -> float32 in [0, 1] on the device."""
        return frames.to(self.device, non_blocking=True).float().div_(255)

    @property
    def best_net(self) -> nn.Module:
        """The network that predicts: the moving average of the weights where there is one."""
        ema = self.optimisation.ema if self.opt.train is not None else None
        return self.net if ema is None else ema

    @torch.no_grad()
    def predict(self, lq: Tensor) -> Tensor:
        """Float windows (B, T, 3, h, w) of any size -> restored centre frames in [0, 1]."""
        net = self.best_net
        was_training = net.training
        net.eval()
        compiles = self.opt.train is not None and self.opt.train.compile
        # frames to validate on are of many sizes: they are not compiled for
        with torch.compiler.set_stance('force_eager') if compiles else contextlib.nullcontext():
            output = forward_padded(net, lq, self.output_of).clamp(0, 1)
        net.train(was_training)
        return output

    # files

    def weights(self) -> dict[str, Any]:
        """What a checkpoint of weights holds: 'params', 'params_ema' where there is a moving average, 'network_g'."""
        content: dict[str, Any] = {'params': self.net.state_dict()}
        if self.best_net is not self.net:
            content['params_ema'] = self.best_net.state_dict()
        return {**content, 'network_g': {'type': self.opt.network_g.type, **self.opt.network_g.args}}

    def state(self) -> dict[str, Any]:
        """What training needs besides the weights to go on exactly; BasicSR's keys where it has one."""
        return self.optimisation.state()

    def resume(self, weights: Path, state: dict[str, Any]) -> None:
        """Takes over what `weights` and `state` said when they were saved."""
        ema = self.optimisation.ema
        checkpoint.load_network(self.net, weights, param_key='params')
        if ema is not None:
            checkpoint.load_network(ema, weights, param_key='params_ema')
        self.optimisation.load_state(state)
