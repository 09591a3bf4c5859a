"""Training tasks: networks, losses, learners, one optimisation step."""

from __future__ import annotations

import torch

from votes.models.restoration_model import RestorationModel
from votes.options import Options
from votes.registry import MODELS


def build_model(opt: Options, device: torch.device) -> RestorationModel:
    """The training task that ``model_type`` names, with its networks on `device`."""
    model: RestorationModel = MODELS.get(opt.model_type)(opt, device)
    return model


__all__ = ['RestorationModel', 'build_model']
