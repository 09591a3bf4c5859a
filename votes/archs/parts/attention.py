"""Attention over channels."""

from __future__ import annotations

from torch import Tensor, nn


class ECA(nn.Module):
    """Efficient channel attention (Wang et al., CVPR 2020): a factor a channel, from the means of it and its
    neighbours.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        factors = self.conv(x.mean((2, 3)).unsqueeze(1)).sigmoid()
        return x * factors.transpose(1, 2).unsqueeze(-1)
