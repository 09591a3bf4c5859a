"""Networks as folders that hubs of models know: config.json, model.safetensors, README.md."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import votes
from votes import checkpoint
from votes.archs import build_network, load_pretrained, stored_options
from votes.archs.contract import promise
from votes.errors import UserError
from votes.export.card import model_card

CONFIG, MODEL, CARD = 'config.json', 'model.safetensors', 'README.md'
HUB_ID = re.compile(r'[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*')
PREFIX = 'hub:'  # of a name on a hub, where a file may be named as well


def write_safetensors(weights: Mapping[str, Tensor], options: Mapping[str, Any], target: Path) -> None:
    """A file of weights that says which network they are of."""
    from safetensors.torch import save_file

    about = {'format': 'pt', 'votes': json.dumps({'network': dict(options), 'version': votes.__version__})}
    target.parent.mkdir(parents=True, exist_ok=True)
    with checkpoint.writing('the weights', target), checkpoint.atomic_write(target) as temporary:
        save_file({name: value.contiguous() for name, value in weights.items()}, temporary, metadata=about)


def write_folder(source: Path, folder: Path, overwrite: bool = False) -> list[str]:
    """The network of a checkpoint as a folder for a hub; its model card is made of the run that the file lies in.

    Returns:
        A line for each file.

    Raises:
        UserError: the folder holds files, or the checkpoint is none.
    """
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise UserError('the output exists', where=folder, fix='another folder, or --overwrite')
    net, options = opened(source)
    said = promise(net)
    write_safetensors(net.state_dict(), options, folder / MODEL)
    config = {
        'library_name': 'votes',
        'votes_version': votes.__version__,
        'network': options,
        'sees': str(said.sees),
        'scale': said.scale,
        'weights_sha256': checkpoint.sha256(folder / MODEL),
    }
    checkpoint.write_json(folder / CONFIG, config)
    checkpoint.write_text(folder / CARD, model_card(source, options, net))
    return [f'{folder / name}: {(folder / name).stat().st_size / 1e6:.3f} MB' for name in (CONFIG, MODEL, CARD)]


def opened(source: Path) -> tuple[nn.Module, dict[str, Any]]:
    """A network with its weights, on the CPU, and its options: of a checkpoint or of such a folder."""
    if source.is_dir():
        config = _config(source)
        return _from_folder(source, config), config['network']
    options = stored_options(source)
    return load_pretrained(str(source)), options


def from_pretrained(
    name: str | Path, revision: str = 'main', device: torch.device | str = 'cpu', cache: Path | None = None
) -> nn.Module:
    """A network with its weights, in evaluation mode: of a folder that `votes export --to safetensors` wrote, or of a
    repository with these files on a hub of models ('owner/name').

    Args:
        revision: of the repository: a branch, a tag or a commit.
        cache: folder of what is downloaded; default: $VOTES_CACHE, else ~/.cache/votes.

    Files are taken from $HF_ENDPOINT, https://huggingface.co unless told. What has been downloaded is used again as
    long as the repository has the same; where it cannot be reached, it is used with a warning.

    Raises:
        UserError: there is no such folder or repository, a download is damaged, or the weights are of another network.
    """
    folder = Path(name)
    if not folder.is_dir():
        text = str(name).removeprefix(PREFIX)
        if not HUB_ID.fullmatch(text):
            raise UserError('no such folder, and no name on a hub', value=text, fix='a folder, or owner/name')
        from votes.export.download import fetched

        folder = fetched(text, revision, (CONFIG, MODEL), cache)
        if ':' in str(_config(folder)['network'].get('type')):
            raise UserError(
                'this repository names code of its own, which is not run',
                where=text,
                value=_config(folder)['network']['type'],
                fix='download it, read the code, and load the folder',
            )
    return _from_folder(folder, _config(folder)).to(device)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise UserError('config.json of a network cannot be read', where=path, value=error) from error
    network = config.get('network') if isinstance(config, dict) else None
    if not isinstance(network, dict) or not isinstance(network.get('type'), str):
        raise UserError(
            'this is no network of this project',
            where=path,
            value='no "network" in it',
            fix='`votes export --to safetensors`',
        )
    found: dict[str, Any] = config
    return found


def _from_folder(folder: Path, config: Mapping[str, Any]) -> nn.Module:
    net = build_network(config['network'])
    weights = checkpoint.read_safetensors(folder / MODEL)
    mismatch = checkpoint.compare(net.state_dict(), weights)
    if mismatch:
        raise UserError(f'the weights are not those of {type(net).__name__}\n{mismatch}', where=folder / MODEL)
    net.load_state_dict(weights)
    return net.eval()


def network_of(weights: str | Path, device: torch.device | str, runtime: str = 'torch') -> nn.Module:
    """The network that a program is given: a checkpoint, a folder for a hub, hub:owner/name, or OUT.onnx.

    Args:
        runtime: 'torch' or 'onnx'.
    """
    path = Path(weights)
    if runtime == 'onnx' or path.suffix == '.onnx':
        from votes.export.runtime import OnnxNetwork

        if path.suffix != '.onnx':
            fix = f'votes export {path} --to onnx -o {path.stem}.onnx'
            raise UserError('onnxruntime runs exported networks', where=path, fix=fix)
        return OnnxNetwork(path, device)
    if path.is_dir() or str(weights).startswith(PREFIX):
        return from_pretrained(weights, device=device)
    return load_pretrained(str(path), device)


def cache_folder(cache: Path | None = None) -> Path:
    return cache or Path(os.environ.get('VOTES_CACHE') or Path.home() / '.cache' / 'votes')
