"""Process group, ranks, and decisions that all ranks take together."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from votes.errors import UserError

T = TypeVar('T')
_left: list[Any] = []


def start(launcher: str, backend: str = 'nccl', timeout: float = 1800, gpu: bool = True) -> list[str]:
    """Joins the process group that torchrun announced; without a launcher there is one process and no group.

    Args:
        timeout: seconds after which waiting for another rank is an error.
        gpu: False where the CPU is to be used although there is a GPU.

    Returns:
        Notices for the user: nccl without a GPU becomes gloo.
    """
    if launcher == 'none':
        return []
    if 'RANK' not in os.environ:
        raise UserError('--launcher pytorch without torchrun', fix='bash dist_train.sh GPUS OPTION_FILE PORT')
    notices = []
    gpu = gpu and torch.cuda.is_available()
    if not gpu and backend == 'nccl':
        backend = 'gloo'
        notices.append('dist_params.backend: nccl needs GPUs; gloo is used')
    if gpu:
        count, here = torch.cuda.device_count(), int(os.environ.get('LOCAL_WORLD_SIZE', 1))
        if here > count and backend == 'nccl':
            raise UserError(f'{here} processes for {count} GPUs', fix='one process a GPU, or dist_params.backend: gloo')
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']) % count)
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    return notices


def set_timeout(seconds: float) -> None:
    """Changes how long to wait for other ranks: long before the first step, which builds and compiles, then short."""
    if dist.is_initialized():
        dist.distributed_c10d._set_pg_timeout(timedelta(seconds=seconds))


def stop() -> None:
    """Leaves the process group. What is left of it stays until the process ends: to destroy that has been seen to wait
    for ever for a thread of gloo.
    """
    if dist.is_initialized():
        _left.append(dist.group.WORLD)
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


def mean(values: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over all ranks."""
    if not dist.is_initialized():
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values / world_size()


def any_rank(*flags: torch.Tensor | bool, device: torch.device) -> list[bool]:
    """Which of the flags is set on any rank: one collective, the same answer everywhere."""
    word = torch.stack([torch.as_tensor(flag, device=device).float() for flag in flags])
    if dist.is_initialized():
        dist.all_reduce(word, dist.ReduceOp.MAX)
    return [bool(value) for value in word.tolist()]


def on_first(work: Callable[[], T]) -> T:
    """Does `work` on rank 0; what it returns, or the exception that it raises, is there on every rank.

    The exceptions of the other ranks say `repeated`: rank 0 has told its user already.
    """
    result: Any = None
    failure: Exception | None = None
    if rank() == 0:
        try:
            result = work()
        except Exception as error:
            failure = error
    if dist.is_initialized():
        told = [failure, result]
        dist.broadcast_object_list(told, src=0)
        if rank() != 0:
            failure, result = told
            if failure is not None:
                failure.__dict__['repeated'] = True
    if failure is not None:
        barrier()  # rank 0 does not end before the others know
        raise failure
    return result  # type: ignore[no-any-return]


def gather(value: Any) -> list[Any]:
    """What every rank passed, in the order of ranks, on every rank."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values
