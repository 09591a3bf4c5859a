"""What works on this machine, and what does not and why."""

from __future__ import annotations

import argparse
import importlib
import platform
from importlib import metadata

import torch

import votes
from votes.ops import BACKENDS, backend_problem
from votes.ops.deform_conv import choose_backend

PACKAGES = ('torch', 'numpy', 'av', 'opencv-python-headless', 'pydantic', 'tensorboard')
OPTIONAL = ('torchvision', 'mmcv', 'triton')


def _version(package: str) -> str:
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        return 'not installed'
    try:
        importlib.import_module({'opencv-python-headless': 'cv2'}.get(package, package))
    except (ImportError, RuntimeError, OSError) as error:
        return f'{version}, present but broken: {(str(error).splitlines() or [""])[0]}'
    return version


def diagnosis() -> str:
    """Lines of text: versions, devices, the backends of the deformable convolution."""
    lines = [f'votes {votes.__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}']
    lines += [f'  {package:<24}{_version(package)}' for package in (*PACKAGES, *OPTIONAL)]
    devices = ['cpu'] + (['cuda'] if torch.cuda.is_available() else [])
    lines.append(f'threads {torch.get_num_threads()}, CUDA devices {torch.cuda.device_count()}')
    lines += [f'  {torch.cuda.get_device_name(i)}' for i in range(torch.cuda.device_count())]
    for device in devices:
        lines.append(f'deformable convolution on {device} (chosen: {choose_backend(None, device)}):')
        lines += [f'  {name:<24}{backend_problem(name, device) or "works"}' for name in BACKENDS]
    return '\n'.join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(args: argparse.Namespace) -> None:
    print(diagnosis())
