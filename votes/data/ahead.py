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
    ready: queue.Queue[tuple[str, object]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(kind: str, item: object) -> bool:
        while not stopped.is_set():
            try:
                ready.put((kind, item), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        source = iter(items)
        try:
            for item in source:
                if not put('item', item):
                    return
            put('end', None)
        except BaseException as error:
            put('error', error)
        finally:
            if hasattr(source, 'close'):
                source.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            kind, item = ready.get()
            if kind == 'end':
                return
            if kind == 'error':
                raise item  # type: ignore[misc]
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()


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
