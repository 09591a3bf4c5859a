"""The model card of a trained network, made of its run: only what is known stands there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import nn

import votes
from votes import checkpoint
from votes.archs.contract import promise
from votes.registry import NETWORKS


def model_card(source: Path, options: Mapping[str, Any], net: nn.Module) -> str:
    """Markdown with a header that hubs read.

    Args:
        source: the checkpoint; what lies in the run folder around it is told, where it lies in one.
    """
    said, name = promise(net), str(options['type'])
    run = source.parent.parent if source.parent.name == 'models' else None
    trained = _options(run)
    title = str(trained.get('name') or source.stem)
    count = sum(p.numel() for p in net.parameters())
    head: dict[str, Any] = {'library_name': 'votes', 'pipeline_tag': 'video-to-video' if said.restores else 'other'}
    head['tags'] = ['video-restoration', *(['video-super-resolution'] if said.scale > 1 else []), name]
    paper = NETWORKS.describe(name) if name in NETWORKS.table else name
    lines = ['---', yaml.safe_dump(head, sort_keys=False).strip(), '---', '', f'# {title}', '']
    lines += [f'{name} ({paper}), {count / 1e6:.3f} million parameters. It sees {_words(said.sees)} and gives frames']
    lines[-1] += f' {said.scale} times as large.' if said.scale > 1 else ' of the same size.'
    if said.inputs:
        lines += ['', f'Besides frames it reads {", ".join(said.inputs)} of the compressed stream.']
    lines += [
        '',
        '## Use',
        '',
        '```python',
        'import votes',
        '',
        "net = votes.from_pretrained('THIS FOLDER OR owner/name')",
    ]
    lines += ["votes.restore('in.mp4', 'out.mp4', weights=net)", '```', '']
    lines += _training(trained)
    lines += _measured(run, trained)
    lines += ['## Limits', '', 'Made for video that is damaged as its training data were; other damage may stay or be']
    lines += [
        'taken for detail. What is invented where detail was lost is a guess, and no evidence of what was there.',
        '',
    ]
    lines += [
        f'Made by votes {votes.__version__} from {source.name} (SHA-256 {checkpoint.sha256(source)[:16]}...).',
        '',
    ]
    return '\n'.join(lines)


def _words(sees: Any) -> str:
    kind = type(sees).__name__
    words = {'Frame': 'single frames', 'Clip': 'whole clips', 'Causal': 'one frame after the other'}
    return words.get(kind) or f'windows of {sees.frames} frames'


def _options(run: Path | None) -> dict[str, Any]:
    path = run / 'options.yml' if run else None
    if path is None or not path.is_file():
        return {}
    content = yaml.safe_load(path.read_text(encoding='utf-8'))
    return content if isinstance(content, dict) else {}


def _training(options: Mapping[str, Any]) -> list[str]:
    data, train = (options.get('datasets') or {}).get('train') or {}, options.get('train') or {}
    if not train:
        return []
    rows = [
        ('data', data.get('name') or Path(str(data.get('dataroot_gt', ''))).name),
        ('crops of GT', f'{data["gt_size"]} pixels' if data.get('gt_size') else None),
        ('iterations', train.get('total_iter')),
        ('samples a step and process', data.get('batch_size_per_gpu')),
        ('optimiser', _named(train.get('optim_g'))),
        ('schedule', _named(train.get('scheduler'))),
        (
            'losses',
            ', '.join(
                filter(None, [_named(train.get('pixel_opt')), *map(_named, (train.get('losses') or {}).values())])
            ),
        ),
        ('seed', options.get('manual_seed')),
    ]
    table = [f'| {name} | {value} |' for name, value in rows if value not in (None, '')]
    return ['## Training', '', '| | |', '|---|---|', *table, '']


def _named(spec: Any) -> str | None:
    if not isinstance(spec, Mapping):
        return None
    told = ', '.join(f'{key} {value}' for key, value in spec.items() if key in ('lr', 'loss_weight', 'reduction'))
    return f'{spec["type"]} ({told})' if told else str(spec['type'])


def _measured(run: Path | None, options: Mapping[str, Any]) -> list[str]:
    """The best validation of the run, by its first metric."""
    path = run / 'metrics.jsonl' if run else None
    if path is None or not path.is_file():
        return []
    rows = [json.loads(line) for line in path.read_text().splitlines() if line.startswith('{') and line.endswith('}')]
    rows = [row for row in rows if row.get('kind') != 'train' and isinstance(row.get('restored_psnr'), int | float)]
    if not rows:
        return []
    best = max(rows, key=lambda row: row['restored_psnr'])
    values = {key: value for key, value in best.items() if isinstance(value, float) and '_' in key}
    how = ((options.get('val') or {}).get('metrics') or {}).get('psnr') or {}
    where = 'Y' if how.get('test_y_channel') else 'RGB'
    table = [f'| {key.replace("_", ", ", 1)} | {value:.4f} |' for key, value in sorted(values.items())]
    protocol = (
        f'On `{best["kind"]}` after iteration {best["iter"]}, {where}, {how.get("crop_border", 0)} pixels cropped:'
    )
    return ['## Validation', '', protocol, '', '| | |', '|---|---|', *table, '']
