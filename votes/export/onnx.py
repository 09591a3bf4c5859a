"""A network as ONNX files, compared with PyTorch before they are kept."""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from votes import checkpoint
from votes.errors import UserError
from votes.export.graphs import Exported, Graph, difference, first_line, quiet

LEAST_OPSET = 19  # the first with DeformConv
OPSET = 20
FIRST = '.first'  # before the suffix of the graph of a clip's first frame
KEY = 'votes'  # of the metadata


def needed() -> None:
    """
    Raises:
        UserError: what writing and running ONNX needs is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            'ONNX is not installed', value=error, fix="pip install 'votes[export]', or onnx onnxruntime onnxscript"
        ) from error


def files_of(target: Path, name: str) -> Path:
    """Where a graph is written: OUT.onnx, and OUT.first.onnx of a Causal network's first frame."""
    return target.with_name(f'{target.stem}{FIRST}{target.suffix}') if name == 'first' else target


def write_onnx(found: Exported, target: Path, opset: int = OPSET) -> list[str]:
    """Writes the graphs of a network, all of them or none.

    Returns:
        A line for each file: where, how large, and how far it is from PyTorch.

    Raises:
        UserError: an operator has no counterpart, or a file gives other pictures than PyTorch.
    """
    needed()
    if opset < LEAST_OPSET:
        raise UserError('the opset is too old', value=opset, fix=f'--opset {LEAST_OPSET} or later')
    models = {graph.name: _model(graph, found, opset) for graph in found.graphs}
    lines, gaps = [], {}
    for graph in found.graphs:
        compute = functools.partial(run, session(models[graph.name]), graph.inputs)
        fix = '--deform grid, or --to torch-export'
        gaps[graph.name] = difference(graph, found.trials[graph.name], compute, fix)
    for name, content in models.items():
        path = files_of(target, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with checkpoint.writing('the exported network', path), checkpoint.atomic_write(path) as temporary:
            temporary.write_bytes(content)
        lines.append(
            f'{path}: {len(content) / 1e6:.2f} MB, opset {opset}, at most {gaps[name]:.1e} from PyTorch '
            f'at {" and ".join(_size(trial) for trial in found.trials[name])}'
        )
    return lines


def _size(trial: list[Tensor]) -> str:
    return f'{trial[0].shape[-1]}x{trial[0].shape[-2]}'


def _model(graph: Graph, found: Exported, opset: int) -> bytes:
    """The bytes of an ONNX file."""
    try:
        with quiet():
            try:
                program = _converted(graph, opset, optimize=True)
            except Exception as error:
                if 'PassManager' not in str(error):
                    raise
                program = _converted(graph, opset, optimize=False)  # its optimiser fails on some, as ShannonNet's
            assert program is not None
            program.model.metadata_props[KEY] = json.dumps({**found.about, 'graph': graph.name})
            content: bytes = program.model_proto.SerializeToString()
    except Exception as error:  # of whatever the exporter meets
        lines = str(error).strip().splitlines()
        told = next((line.strip() for line in reversed(lines) if 'rror' in line), first_line(error))
        name = found.about['network'].get('type')
        raise UserError(f'{name} has no form in ONNX', value=told[:200], fix='--to torch-export') from error
    return content


def _converted(graph: Graph, opset: int, optimize: bool) -> Any:
    return torch.onnx.export(
        graph.program,
        (),
        dynamo=True,
        opset_version=opset,
        input_names=graph.inputs,
        output_names=graph.outputs,
        custom_translation_table=_translations(),
        optimize=optimize,
        verbose=False,
    )


def _translations() -> dict[Any, Callable[..., Any]]:
    """Our operator, and what PyTorch translates to something else -> ONNX's."""
    from onnxscript import opset19 as op

    def deform_conv2d(
        x: Any, offset: Any, mask: Any, weight: Any, bias: Any, stride: int, padding: int, dilation: int, groups: int
    ) -> Any:
        return op.DeformConv(
            x,
            weight,
            offset,
            bias,
            mask,
            strides=[stride, stride],
            pads=[padding] * 4,
            dilations=[dilation, dilation],
            offset_group=groups,
        )

    def floordiv(a: Any, b: Any) -> Any:
        # PyTorch writes Div, which rounds towards zero: sizes as -(-h // 32) * 32 came out one multiple short
        return op.Div(op.Sub(a, op.Mod(a, b)), b)

    from votes.ops.exporting import deform_conv_operator

    deform_conv_operator()
    return {torch.ops.votes.deform_conv2d.default: deform_conv2d, operator.floordiv: floordiv}


def session(content: bytes | str, threads: int = 0, cuda: bool = False) -> Any:
    """An onnxruntime session.

    Args:
        content: an ONNX file, or its path.
        threads: of the CPU, 0 for as many as PyTorch has.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
    there = onnxruntime.get_available_providers()
    providers = [p for p in ('CUDAExecutionProvider',) if cuda and p in there]
    return onnxruntime.InferenceSession(content, options, providers=[*providers, 'CPUExecutionProvider'])


def run(opened: Any, names: list[str], values: list[Tensor]) -> list[Tensor]:
    """The outputs of a session."""
    known = {item.name for item in opened.get_inputs()}
    feed = {name: value.detach().cpu().contiguous().numpy() for name, value in zip(names, values, strict=True)}
    found = opened.run(None, {name: value for name, value in feed.items() if name in known})
    return [torch.from_numpy(value) for value in found]
