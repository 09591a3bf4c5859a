"""What CAVSR's compression encoder is trained in: it ranks frames by what compression has done to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from votes.archs.cavsr_arch import CAVSREncoder, type_numbers
from votes.archs.contract import Frame, Sample


class CAVSRRanker(nn.Module):
    """Frames (N, 3, h, w) in [0, 1] -> 'score' (N, 1, 1, 1), larger the more a frame has lost, and the frames as 'out'.

    Files of it are what a CAVSR loads as its part `encoder`.

    Args:
        type_vectors: see CAVSREncoder.
    """

    sees = Frame()
    restores = False
    inputs = ('pict_type',)
    parts = {'encoder': ('encoder.',)}
    supervised = {'l_rank': {'output': 'score'}}
    small: dict[str, Any] = {}

    def __init__(self, type_vectors: Sequence[Sequence[float]] | None = None):
        super().__init__()
        self.encoder = CAVSREncoder(type_vectors)

    def arguments(self, sample: Sample) -> dict[str, Tensor]:
        return {'type_vec': self.encoder.type_vectors[type_numbers(sample['pict_type'])]}

    def forward(self, x: Tensor, type_vec: Tensor) -> dict[str, Tensor]:
        score = self.encoder.score(self.encoder.representation(x, type_vec))
        return {'out': x, 'score': score[..., None, None]}

    @classmethod
    def published_weights(cls, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The authors' ranker.pth has the encoder alone."""
        bare = not any(key.startswith('encoder.') for key in weights)
        weights = {f'encoder.{key}': value for key, value in weights.items()} if bare else weights
        own = {key.removeprefix('encoder.'): value for key, value in weights.items()}
        return {f'encoder.{key}': value for key, value in CAVSREncoder.published_weights(own).items()}

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this project."""
        return {} if 'encoder.R.5.weight' in weights and 'da_head_b.0.weight' not in weights else None
