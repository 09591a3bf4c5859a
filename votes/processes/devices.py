"""Which device a process computes on."""

from __future__ import annotations

import torch

from votes.errors import UserError, first_line
from votes.options import Options


def pick_device(name: str) -> torch.device:
    """The device that a command line names: 'auto' (a GPU where there is one), 'cpu', 'cuda', 'cuda:1' ...

    Raises:
        UserError: it cannot be used.
    """
    chosen = ('cuda' if torch.cuda.is_available() else 'cpu') if name == 'auto' else name
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        fix = 'auto, cpu, cuda, cuda:1 ...'
        raise UserError('no such device', value=chosen, where=first_line(error), fix=fix) from error
    return torch.device(chosen)


def device_of(opt: Options) -> torch.device:
    """The device of this process by ``num_gpu`` of an option file (0 is the CPU); a notice where there is no GPU."""
    if opt.num_gpu == 0 or not torch.cuda.is_available():
        if opt.num_gpu not in (0, 'auto'):
            opt.notices.append(f'num_gpu: {opt.num_gpu}: no CUDA device here, the CPU is used')
        return torch.device('cpu')
    return torch.device('cuda', torch.cuda.current_device())
