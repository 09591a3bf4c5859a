"""What a discriminator's logits are worth, for it and for the network that it judges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.ops.blur import gaussian_blur

Logits = Tensor | Sequence[Tensor | Sequence[Tensor]]
GanType = Literal['vanilla', 'lsgan', 'wgan', 'wgan_softplus', 'hinge']
TYPES = ('vanilla', 'lsgan', 'wgan', 'wgan_softplus', 'hinge')


class GANLoss(nn.Module):
    """The mean over all logits.

    Args:
        gan_type: 'vanilla' (cross entropy), 'lsgan' (squares, Mao et al.), 'wgan' (their mean, Arjovsky et al.),
            'wgan_softplus' (StyleGAN) or 'hinge'.
        real_label_val, fake_label_val: what vanilla and lsgan compare with.
        loss_weight: factor, for the network that is judged alone: a discriminator's loss is not scaled.
        high_pass: the discriminator is shown what a Gaussian takes away from pictures, see `high_passed`.
    """

    adversarial = True

    def __init__(
        self,
        gan_type: GanType,
        real_label_val: float = 1.0,
        fake_label_val: float = 0.0,
        loss_weight: float = 1.0,
        high_pass: bool = False,
    ):
        super().__init__()
        if gan_type not in TYPES:
            raise ValueError(f'gan_type is one of {", ".join(TYPES)}, not {gan_type!r}')
        self.gan_type, self.loss_weight = gan_type, loss_weight
        self.real_label_val, self.fake_label_val, self.high_pass = real_label_val, fake_label_val, high_pass

    def shown(self, pictures: Tensor) -> Tensor:
        """What a discriminator is shown of pictures (B, C, H, W)."""
        return high_passed(pictures) if self.high_pass else pictures

    def of_generator(self, fake: Logits, real: Callable[[], Logits]) -> Tensor:
        """What the network that is judged is told.

        Args:
            fake: logits of its pictures.
            real: gives the logits of what they should look like, which takes a pass of the discriminator.
        """
        return self(fake, True)

    def of_discriminator(self, real: Logits, fake: Logits) -> dict[str, Tensor]:
        """What a discriminator is told: its terms for the one and for the other."""
        return {'real': self(real, True, is_disc=True), 'fake': self(fake, False, is_disc=True)}

    def forward(self, input: Tensor, target_is_real: bool, is_disc: bool = False) -> Tensor:
        """Logits of any shape -> a number.

        Args:
            target_is_real: what the logits ought to say.
            is_disc: for the discriminator.
        """
        with torch.autocast(input.device.type, enabled=False):
            loss = self._value(input.float(), target_is_real, is_disc)
        return loss if is_disc else self.loss_weight * loss

    def _value(self, logits: Tensor, real: bool, is_disc: bool) -> Tensor:
        if self.gan_type in ('vanilla', 'lsgan'):
            label = torch.full_like(logits, self.real_label_val if real else self.fake_label_val)
            if self.gan_type == 'lsgan':
                return F.mse_loss(logits, label)
            return F.binary_cross_entropy_with_logits(logits, label)
        if self.gan_type == 'hinge':
            if not is_disc:  # whatever target_is_real says, as BasicSR has it
                return -logits.mean()
            return F.relu(1 - logits if real else 1 + logits).mean()
        signed = -logits if real else logits
        return signed.mean() if self.gan_type == 'wgan' else F.softplus(signed).mean()


class MultiScaleGANLoss(GANLoss):
    """The mean over discriminators of several scales; of one that also gives features, the last tensor counts."""

    def forward(self, input: Logits, target_is_real: bool, is_disc: bool = False) -> Tensor:
        """Logits, or a list with those of each scale, or lists of features and logits -> a number."""
        if isinstance(input, Tensor):
            return super().forward(input, target_is_real, is_disc)
        logits = [each if isinstance(each, Tensor) else each[-1] for each in input]
        return torch.stack([super(MultiScaleGANLoss, self).forward(x, target_is_real, is_disc) for x in logits]).mean()


class RelativisticGANLoss(GANLoss):
    """Whether pictures are more real than others are on average (Jolicoeur-Martineau, ICLR 2019, as ESRGAN has it).

    Logits of the one kind are compared after the mean of the other's is taken away, and halves of both terms are
    added; of a discriminator each term has gradients of its own logits alone, and the network that is judged has none
    of the real ones, as in BasicSR. Arguments are those of GANLoss.
    """

    def of_generator(self, fake: Logits, real: Callable[[], Logits]) -> Tensor:
        """As of GANLoss; the real ones ought to be the less real ones."""
        theirs = real()
        assert isinstance(fake, Tensor)
        assert isinstance(theirs, Tensor)
        theirs = theirs.detach()
        return (self(theirs - fake.mean(), False) + self(fake - theirs.mean(), True)) / 2

    def of_discriminator(self, real: Logits, fake: Logits) -> dict[str, Tensor]:
        """As of GANLoss."""
        assert isinstance(real, Tensor)
        assert isinstance(fake, Tensor)
        more, less = real - fake.detach().mean(), fake - real.detach().mean()
        return {'real': self(more, True, is_disc=True) / 2, 'fake': self(less, False, is_disc=True) / 2}


def high_passed(pictures: Tensor) -> Tensor:
    """``0.5 + 0.5 (x - blur(x))`` with a Gaussian of 5 x 5 taps and sigma 1: (B, C, H, W) -> the same (Shannon lab in
    track 2 of the NTIRE 2021 challenge).
    """
    return 0.5 + 0.5 * (pictures - gaussian_blur(pictures, 5, 1.0))
