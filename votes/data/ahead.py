"""Work that is done before it is asked for: in a thread, and on a GPU on a stream of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

T = TypeVar('T')


def ahead(items: Iterable[T], depth: int) -> Iterator[T]:
    """The items, made in a thread of their own, at most `depth` ahead. What goes wrong there is raised here."""
    source, end = iter(items), object()
    try:
        with ThreadPoolExecutor(1) as thread:
            waiting = deque(thread.submit(next, source, end) for _ in range(depth))
            try:
                while (item := waiting.popleft().result()) is not end:
                    waiting.append(thread.submit(next, source, end))
                    yield cast(T, item)
            finally:
                for future in waiting:
                    future.cancel()
    finally:
        if hasattr(source, 'close'):
            source.close()


def copied_ahead(batches: Iterable[dict[str, Any]], device: torch.device) -> Generator[dict[str, Any], None, None]:
    """Batches with their tensors on a GPU: the next one is copied there while this one is computed with."""
    copying = torch.cuda.Stream(device)

    def copied() -> Iterator[tuple[dict[str, Any], torch.cuda.Event]]:
        for batch in batches:
            with torch.cuda.stream(copying):
                moved = {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}
                event = copying.record_event()
            yield moved, event

    for batch, event in ahead(copied(), 1):
        computing = torch.cuda.current_stream(device)
        computing.wait_event(event)
        for value in batch.values():
            if isinstance(value, Tensor):
                value.record_stream(computing)  # its memory is not given away before it has been computed with
        yield batch
