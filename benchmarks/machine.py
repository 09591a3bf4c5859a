"""The machine and the versions that a result names, and how results are written."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

import votes
from votes.checkpoint import atomic_write


def describe(device: str = 'cpu') -> dict[str, Any]:
    """Machine, versions and command, for a result file."""
    cpu = platform.processor() or 'unknown'
    if Path('/proc/cpuinfo').exists():
        names = [line for line in Path('/proc/cpuinfo').read_text().splitlines() if line.startswith('model name')]
        cpu = names[0].split(':', 1)[1].strip() if names else cpu
    about = {
        'cpu': cpu,
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'python': platform.python_version(),
        'torch': torch.__version__,
        'votes': votes.__version__,
        'command': f'python {" ".join(sys.argv)}',
    }
    if device.startswith('cuda'):
        about |= {'gpu': torch.cuda.get_device_name(), 'cuda': torch.version.cuda}
    return about


def write(path: Path, content: dict[str, Any]) -> None:
    """Writes a result as JSON and prints where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + '\n')
    print(path)
