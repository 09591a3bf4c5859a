"""A network as a file of torch.export, which `torch.export.load` reads without the code of this project."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from votes import checkpoint
from votes.errors import UserError
from votes.export.graphs import Exported
from votes.export.onnx import CLOSE, KEY, files_of


def write_programs(found: Exported, target: Path) -> list[str]:
    """Writes the graphs of a network as OUT.pt2, and OUT.first.pt2 of a Causal network's first frame.

    Returns:
        A line for each file.

    Raises:
        UserError: a graph gives other pictures than the network.
    """
    lines = []
    for graph in found.graphs:
        path, worst = files_of(target, graph.name), 0.0
        with torch.no_grad():
            for trial in found.trials[graph.name]:
                wanted, ours = graph.call(*trial), graph.program.module()(*trial)
                pairs = zip(wanted, ours, strict=True) if isinstance(wanted, tuple) else [(wanted, ours)]
                worst = max([worst, *(float((a - b).abs().max()) for a, b in pairs)])
        if not worst < CLOSE:
            raise UserError('the exported graph gives other pictures', value=f'{worst:.1e} from the network')
        path.parent.mkdir(parents=True, exist_ok=True)
        with checkpoint.writing('the exported network', path), checkpoint.atomic_write(path) as temporary:
            extra = {f'{KEY}.json': json.dumps({**found.about, 'graph': graph.name})}
            torch.export.save(graph.program, temporary, extra_files=extra)
        lines.append(f'{path}: {path.stat().st_size / 1e6:.2f} MB, at most {worst:.1e} from the network')
    return lines
