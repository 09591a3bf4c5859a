"""Work that is done before it is asked for: in a thread, and on a GPU on a stream of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar('T')


def ahead(items: Iterable[T], depth: int) -> Iterator[T]:
    """The items, made in a thread of their own, at most `depth` ahead. What goes wrong there is raised here."""
    # no pool of threads: what is forked from one of its threads, as data workers are, would wait for it as it ends
    ready: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
    source, room, stopped = iter(items), threading.Semaphore(depth), threading.Event()

    def work() -> None:
        try:
            while room.acquire() and not stopped.is_set():
                ready.put((next(source), None))
        except BaseException as error:
            ready.put((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            room.release()
            yield item
    finally:
        stopped.set()
        room.release()
        thread.join()
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
