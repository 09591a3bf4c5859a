"""NLSN: image super-resolution with non-local sparse attention (Mei et al., CVPR 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Frame
from votes.archs.parts.blocks import conv3x3, count_of
from votes.archs.parts.pictures import DIV2K_MEAN, MeanShift, Residual, enlarging, range_and_mean, scale_of_enlarging
from votes.archs.parts.published import Weights, fitting, size_of

LARGEST = 128  # buckets
SEED = 0  # of the rotations in evaluation


def buckets_of(places: int, chunk_size: int) -> int:
    """How many buckets so many places are hashed into: about one for each chunk, an even number."""
    chunks = places // chunk_size
    return min(chunks + chunks % 2, LARGEST)


def with_neighbours(chunks: Tensor) -> Tensor:
    """(B, m, chunks, K, C) -> (B, m, chunks, 3K, C): each chunk, the one before and the one after it, in a circle."""
    return torch.cat((chunks, chunks.roll(1, 2), chunks.roll(-1, 2)), 3)


class SparseAttention(nn.Module):
    """x plus what each place gathers from places that fall into the same bucket of a spherical hash, or near it (paper,
    section 3.2). Places are sorted by their bucket and cut into chunks; each chunk looks at itself and its neighbours.
    """

    def __init__(self, num_feat: int, chunk_size: int, res_scale: float):
        super().__init__()
        self.chunk_size, self.res_scale = chunk_size, res_scale
        self.conv_match = nn.Sequential(conv3x3(num_feat, num_feat // 4))
        self.conv_assembly = nn.Sequential(nn.Conv2d(num_feat, num_feat, 1))

    def _order(self, match: Tensor, rotations: Tensor) -> Tensor:
        """Places by their bucket, equal ones in their order: (B, n, C) and rotations (C, m, b/2) -> (B, m, n)."""
        with torch.autocast(match.device.type, enabled=False):  # a hash of rounded numbers is another one
            rotated = torch.einsum('bnc,cmk->bmnk', match.float(), rotations.float())
            codes = torch.cat((rotated, -rotated), 3).argmax(3)
        # the authors' code sorts unstably, which makes its output depend on the platform
        return codes.sort(dim=2, stable=True).indices

    def forward(self, x: Tensor, rotations: Tensor) -> Tensor:
        """(B, C, H, W), H * W of chunk_size or more, and rotations (C/4, m, b/2) of m rounds -> (B, C, H, W)."""
        match = self.conv_match(x).flatten(2).mT
        value = self.conv_assembly(x).flatten(2).mT
        places, size = match.shape[1], self.chunk_size
        missing = -places % size
        order = self._order(match, rotations)
        filled = torch.cat((order, order[:, :, places - missing :]), 2) if missing else order

        def sorted_chunks(values: Tensor) -> Tensor:
            found = torch.take_along_dim(values.unsqueeze(1), filled.unsqueeze(3), 2)
            return found.unflatten(2, (-1, size))

        query, values = sorted_chunks(match), with_neighbours(sorted_chunks(value))
        keys = with_neighbours(F.normalize(query, dim=4, eps=5e-5))  # queries keep their length
        scores = (query @ keys.mT).float()
        total = scores.logsumexp(4, keepdim=True)
        found = ((scores - total).exp().to(values.dtype) @ values).flatten(2, 3)[:, :, :places]
        back = order.argsort(2).unsqueeze(3)
        found = torch.take_along_dim(found, back, 2)
        share = torch.take_along_dim(total.flatten(2, 3)[:, :, :places], back, 2).softmax(1)
        gathered = (found * share).sum(1).to(x.dtype)
        return gathered.mT.unflatten(2, x.shape[2:]) * self.res_scale + x


class NLSN(nn.Module):
    """(B, 3, h, w) RGB in [0, 1], h * w of chunk_size or more -> (B, 3, S*h, S*w), not clamped: EDSR with sparse
    attention before the first and after each eighth block. Keys of the state_dict as of the authors.

    Rotations of the hash are drawn anew in training. In evaluation they are the same for frames of one size, where the
    authors' code draws them, too: its results vary from run to run.

    Args:
        num_feat: channels F of the features.
        num_block: residual blocks.
        upscale: S, 2, 3, 4 or 8; 1 keeps the size.
        chunk_size: places in a chunk, K.
        num_hashes: rounds of hashing, m.
        res_scale: factor on what a block or an attention adds.
        img_range: what pixels are multiplied by inside.
        rgb_mean: what is taken from pixels in [0, 1] at the entrance and given back at the exit.
    """

    sees = Frame()
    no_graph = 'its course depends on how many places there are to sort'
    small = {'num_feat': 8, 'num_block': 8, 'upscale': 2}

    def __init__(
        self,
        num_feat: int = 256,
        num_block: int = 32,
        upscale: int = 4,
        chunk_size: int = 144,
        num_hashes: int = 4,
        res_scale: float = 0.1,
        img_range: float = 1.0,
        rgb_mean: Sequence[float] = DIV2K_MEAN,
    ):
        super().__init__()
        self.scale, self.img_range = upscale, img_range
        self.chunk_size, self.num_hashes = chunk_size, num_hashes
        self.smallest = math.isqrt(chunk_size - 1) + 1
        self.sub_mean = MeanShift(img_range, rgb_mean, -1)
        self.head = nn.Sequential(conv3x3(3, num_feat))
        layers: list[nn.Module] = [SparseAttention(num_feat, chunk_size, res_scale)]
        for number in range(1, num_block + 1):
            convs = (conv3x3(num_feat, num_feat), nn.ReLU(inplace=True), conv3x3(num_feat, num_feat))
            layers.append(Residual(*convs, res_scale=res_scale))
            if number % 8 == 0:
                layers.append(SparseAttention(num_feat, chunk_size, res_scale))
        self.body = nn.Sequential(*layers, conv3x3(num_feat, num_feat))
        self.attentions = 1 + num_block // 8
        self.tail = nn.Sequential(enlarging(upscale, num_feat), conv3x3(num_feat, 3))
        self.add_mean = MeanShift(img_range, rgb_mean, 1)

    def _rotations(self, x: Tensor) -> Tensor:
        """(attentions, F/4, m, b/2) for features x (B, F, h, w), from a normal distribution."""
        half = buckets_of(x.shape[2] * x.shape[3], self.chunk_size) // 2
        shape = (self.attentions, x.shape[1] // 4, self.num_hashes, half)
        if self.training:
            return torch.randn(shape, device=x.device)
        return torch.randn(shape, generator=torch.Generator().manual_seed(SEED)).to(x.device)

    def forward(self, x: Tensor, rotations: Tensor | None = None) -> Tensor:
        """(B, 3, h, w) -> (B, 3, S*h, S*w).

        Args:
            rotations: of each attention, (attentions, F/4, num_hashes, half the buckets), see buckets_of.
        """
        shallow = deep = self.head(self.sub_mean(x * self.img_range))
        turns = iter(self._rotations(shallow) if rotations is None else rotations)
        for layer in self.body:
            deep = layer(deep, next(turns)) if isinstance(layer, SparseAttention) else layer(deep)
        return self.add_mean(self.tail(deep + shallow)) / self.img_range

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict; chunks, rounds and res_scale are those of the paper."""
        if not {'head.0.weight', 'body.0.conv_match.0.weight'} <= weights.keys():
            return None
        attentions = sum(key.endswith('.conv_match.0.weight') for key in weights)
        return fitting(
            cls,
            weights,
            num_feat=size_of(weights, 'head.0.weight'),
            num_block=count_of(weights, 'body.') - attentions - 1,
            upscale=scale_of_enlarging(weights, 'tail.0.'),
            **range_and_mean(weights),
        )
