"""An exported network run by onnxruntime, as a network of this project: it sees, scales and pads as its original."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from votes.archs.contract import Causal, Clip, Frame, Sees, Window
from votes.errors import UserError
from votes.export.onnx import KEY, files_of, needed, run, session

SEES = {'Frame': Frame, 'Window': Window, 'Causal': Causal}


class OnnxNetwork(nn.Module):
    """Runs OUT.onnx, which `votes export` wrote; OUT.first.onnx beside it where the network is Causal.

    Clips of other lengths than the graph's are restored in pieces of that length, which overlap.

    Raises:
        UserError: the file is missing, none of `votes export`, or onnxruntime is not installed.
    """

    restores = True
    file: Tensor

    def __init__(self, path: str | Path, device: torch.device | str = 'cpu'):
        super().__init__()
        needed()
        path = Path(path)
        if not path.is_file():
            raise UserError('exported network not found', where=path, fix='`votes export W.pth --to onnx -o OUT.onnx`')
        cuda = torch.device(device).type == 'cuda'
        self.opened = {'whole': _opened(path, cuda)}
        about = _about(self.opened['whole'], path)
        self.about = about
        self.opened = {str(about['graph']): self.opened['whole']}
        if about['graph'] == 'step':
            first = files_of(path, 'first')
            if not first.is_file():
                raise UserError('the graph of a first frame is missing', where=first, fix='both files belong together')
            self.opened['first'] = _opened(first, cuda)
        seen = dict(about['sees'])
        kind = str(seen.pop('kind'))
        self.length = int(about['frames'])
        self.sees: Sees = Clip(seen['least'], seen['context']) if kind == 'Clip' else SEES[kind](**seen)
        self.scale, self.multiple, self.smallest = (int(about[key]) for key in ('scale', 'multiple', 'smallest'))
        self.channels, self.inputs = about['channels'], tuple(about['inputs'])
        digest = hashlib.sha256(path.read_bytes()).digest()
        self.register_buffer('file', torch.frombuffer(bytearray(digest), dtype=torch.uint8).clone())

    @property
    def names(self) -> list[str]:
        return ['frames', *self.inputs]

    def _run(self, graph: str, values: list[Tensor], names: list[str]) -> list[Tensor]:
        found = run(self.opened[graph], names, [value.float() for value in values])
        return [value.to(values[0].device) for value in found]

    def forward(self, x: Tensor, **fields: Tensor) -> Tensor:
        values = [x, *(fields[name] for name in self.inputs)]
        if isinstance(self.sees, Clip):
            return torch.cat([self._clip([value[i : i + 1] for value in values]) for i in range(len(x))])
        return torch.cat(
            [self._run('whole', [value[i : i + 1] for value in values], self.names)[0] for i in range(len(x))]
        )

    def _clip(self, values: list[Tensor]) -> Tensor:
        """Of one clip (1, T, ...) of any length."""
        count, length = values[0].shape[1], self.length
        lap = min(getattr(self.sees, 'context', 0), (length - 1) // 2)
        found: list[Tensor] = []
        while len(found) < count:
            start = max(0, min(len(found) - lap, count - length))
            # a clip that is too short goes back and forth
            indices = [_reflected(start + i, count) for i in range(length)]
            out = self._run('whole', [value[:, indices] for value in values], self.names)[0]
            last = count if start + length >= count else start + length - lap
            found += [out[:, i - start] for i in range(len(found), last)]
        return torch.stack(found, 1)

    def step(self, frames: Tensor, state: list[Tensor] | None, **fields: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See contract.Causal; the state is a list of tensors."""
        values = [frames, *(fields[name] for name in self.inputs)]
        if state is None:
            out, *after = self._run('first', values, self.names)
        else:
            names = [*self.names, *(f'state_{number}' for number in range(len(state)))]
            out, *after = self._run('step', [*values, *state], names)
        return out, after


def _reflected(index: int, count: int) -> int:
    """0, 1, 2, 1, 0, 1 ... for three frames."""
    if count == 1:
        return 0
    index %= 2 * (count - 1)
    return min(index, 2 * (count - 1) - index)


def _opened(path: Path, cuda: bool) -> Any:
    try:
        return session(str(path), cuda=cuda)
    except Exception as error:  # onnxruntime has no classes of errors that are its own
        raise UserError(
            'exported network cannot be read', where=path, value=str(error).strip().splitlines()[0][:200]
        ) from error


def _about(opened: Any, path: Path) -> Mapping[str, Any]:
    text = opened.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        raise UserError('this ONNX file is none of `votes export`', where=path, fix='export the weights by it')
    found: Mapping[str, Any] = json.loads(text)
    return found
