"""A network as a file of torch.export, which `torch.export.load` reads without the code of this project."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from votes import checkpoint
from votes.export.graphs import FIX, Exported, difference
from votes.export.onnx import KEY, files_of


def write_programs(found: Exported, target: Path) -> list[str]:
    """Writes the graphs of a network as OUT.pt2, and OUT.first.pt2 of a Causal network's first frame.

    Returns:
        A line for each file.

    Raises:
        UserError: a graph gives other pictures than the network.
    """
    lines = []
    for graph in found.graphs:
        path, module = files_of(target, graph.name), graph.program.module()

        def compute(values: list[Tensor], module: nn.Module = module) -> list[Tensor]:
            return list(tree_flatten(module(*values))[0])

        worst = difference(graph, found.trials[graph.name], compute, FIX)
        path.parent.mkdir(parents=True, exist_ok=True)
        with checkpoint.writing('the exported network', path), checkpoint.atomic_write(path) as temporary:
            extra = {f'{KEY}.json': json.dumps({**found.about, 'graph': graph.name})}
            torch.export.save(graph.program, temporary, extra_files=extra)
        lines.append(f'{path}: {path.stat().st_size / 1e6:.2f} MB, at most {worst:.1e} from the network')
    return lines
