"""Writing and reading weights and training state.

Files are BasicSR's: weights ``{'params': state_dict}``, training state ``{'iter': N, 'optimizers': [...], ...}``.
A file appears under its name whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import pickle
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from votes.errors import UserError, explained, first_line

WEIGHT_KEYS = ('params_ema', 'params', 'state_dict')
TRAINERS = ('generator_ema.', 'generator.')  # mmagic keeps a network inside its trainer, beside a discriminator


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside `path` (same suffix); after the block it is flushed to disk and renamed to `path`.

    If the block raises, the temporary file is removed and whatever stood at `path` is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f'.{path.stem}.{os.getpid()}.tmp{path.suffix}')
    try:
        yield temporary
        with open(temporary, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder beside `folder`, which takes its place after the block, or goes where that raises."""
    partial = folder.with_name(f'.{folder.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was stopped in it
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file, whole or not at all; makes the folder if missing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding='utf-8')


def begin(path: Path, job: dict[str, Any], what: str) -> None:
    """Notes at `path` what a folder is made of; raises UserError where another job was begun there."""
    begun = path.read_text(errors='replace') if path.exists() else json.dumps(job)
    with explained('what was begun here cannot be read', ValueError, where=path, fix='remove this folder'):
        if json.loads(begun) != job:
            raise UserError(f'{what} was begun here', where=path.parent, value=begun, fix='remove this folder')
    write_json(path, job)


def check_target(target: Path, overwrite: bool = False) -> None:
    """Raises UserError where something stands at `target`."""
    if target.exists() and not overwrite:
        raise UserError('the output exists', where=target, fix='choose another name, or --overwrite')


def changed(content: Any, change: Callable[[Any], Any]) -> Any:
    """A nested value with `change` made to all that is neither a mapping nor a list or tuple."""
    if isinstance(content, dict):
        return {key: changed(value, change) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(changed(value, change) for value in content)
    return change(content)


def without_infinity(content: Any) -> Any:
    """The same with 'inf', '-inf' and 'nan' in place of numbers that JSON does not have; float() reads them."""
    return changed(content, lambda x: str(x) if isinstance(x, float) and not math.isfinite(x) else x)


def with_infinity(content: Any) -> Any:
    """Undoes `without_infinity`, for contents in which no text has these three values."""
    return changed(content, lambda x: float(x) if isinstance(x, str) and x in ('inf', '-inf', 'nan') else x)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes JSON, whole or not at all; makes the folder if missing. Numbers see `without_infinity`."""
    write_text(path, json.dumps(without_infinity(content), indent=1, allow_nan=False))


def write_record(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Writes a small JSON file that carries a checksum of what it says."""
    plain = without_infinity(content)
    write_json(path, {**plain, 'checksum': checksum(plain)})


def read_record(path: str | os.PathLike[str], unsigned: bool = False) -> dict[str, Any]:
    """What `write_record` wrote.

    Args:
        unsigned: also what a version before wrote without a checksum.

    Raises:
        ValueError: it cannot be read, or it is not what was written.
    """
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f'{Path(path).name} cannot be read: {error}') from error
    if not isinstance(content, dict):
        raise ValueError(f'{Path(path).name} is damaged: it is no mapping')
    known = content.pop('checksum', None)
    if known != checksum(content) and not (unsigned and known is None and _never_signed(content)):
        raise ValueError(f'{Path(path).name} is damaged: its checksum is another')
    return with_infinity(content)


def _never_signed(content: dict[str, Any]) -> bool:
    """Not so where a checksum stands last under another name: that name is what was damaged."""
    return not re.fullmatch('[0-9a-f]{64}', str(next(reversed(content.values()), '')))


def checksum(content: Any) -> str:
    """SHA-256 of something that can be written as JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def writing(what: str, where: str | os.PathLike[str], then: str = '') -> Iterator[None]:
    """What the system refuses inside (no room, no right, a folder in a file's place) becomes a UserError."""
    try:
        yield
    except OSError as error:
        fix = 'make room' if error.errno in (errno.ENOSPC, errno.EDQUOT) else 'restore write access'
        if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST):
            fix = 'something else stands in its place: move it away'
        raise UserError(f'{what} cannot be written', where=where, value=error, fix=fix + then) from error


def sound(path: Path) -> bool:
    """Whether a file that torch wrote is as it was written, by the checksums inside of it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError, zlib.error):
        return False


def save(content: dict[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """Writes a dictionary of tensors, numbers, strings, lists and dictionaries; makes the folder if missing.

    Returns:
        {'bytes': size, 'sha256': of what was meant to be written}, for a manifest.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
    return {'bytes': buffer.getbuffer().nbytes, 'sha256': hashlib.sha256(buffer.getbuffer()).hexdigest()}


def copied(value: Any) -> Any:
    """The same structure with every tensor copied to the CPU, so that training can go on while it is written."""
    return changed(value, lambda x: x.detach().to('cpu', copy=True) if isinstance(x, Tensor) else x)


def digest(net: nn.Module) -> str:
    """What the weights of a network are recognised by: SHA-256 of names and values."""
    total = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        total.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def sha256(path: str | os.PathLike[str]) -> str:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what `save` (or BasicSR, or the release) wrote, onto the CPU. Nothing in the file is executed.

    Raises:
        UserError: the file is missing, truncated, damaged, a web page, or holds code instead of data.
    """
    path = Path(path)
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob('*.pth')) if path.parent.is_dir() else []
        raise UserError(
            'checkpoint not found', where=path, fix=f'found beside it: {", ".join(beside[:5]) or "nothing"}'
        )
    with open(path, 'rb') as file:
        head = file.read(256)
    try:
        content = torch.load(str(path), map_location='cpu', weights_only=True)
    except Exception as error:  # damaged files make the unpickler raise whatever there is
        what, value = 'checkpoint cannot be read', f'{path.stat().st_size} bytes: {first_line(error)[:200]}'
        fix = 'an incomplete download or save, or a file that holds code: take another copy'
        if head.lstrip().lower().startswith((b'<!doctype', b'<html')):
            what, fix = 'this checkpoint is a web page', 'the download was refused: fetch the file again'
        elif isinstance(error, pickle.UnpicklingError) and 'eights only load failed' in str(error):
            what = 'this checkpoint holds code, a whole network and not its weights alone'
            fix = 'where its code is, and if you trust it: torch.save(network.state_dict(), FILE)'
        raise UserError(what, where=path, value=value, fix=fix) from error
    # torch reads damaged numbers as if they were right; files of before PyTorch 1.6, no archives, have no checksums
    if head.startswith(b'PK') and not sound(path):
        raise UserError('checkpoint is damaged', where=path, value='its checksum is another', fix='take another copy')
    if not isinstance(content, dict):
        raise UserError('checkpoint holds no dictionary', where=path, value=type(content).__name__)
    return content


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, in its order.

    Raises:
        UserError: it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with explained('checkpoint cannot be read', SafetensorError, OSError, where=path):
        weights = load_file(path)
    return weights


def read_weights(path: str | os.PathLike[str], param_key: str | None = None) -> dict[str, Tensor]:
    """The state_dict in a checkpoint: under `param_key`, or under the first of params_ema, params, state_dict, or bare.

    A ``module.`` prefix, which DDP leaves, and a ``generator.`` prefix, which mmagic does, are removed.
    """
    return _weights_and_key(path, param_key)[0]


def _weights_and_key(path: str | os.PathLike[str], param_key: str | None) -> tuple[dict[str, Tensor], str | None]:
    content = load(path)
    if param_key is not None and param_key not in content:
        raise UserError(f'no {param_key!r} in this checkpoint', where=path, value=', '.join(list(content)[:5]))
    key = param_key or next((k for k in WEIGHT_KEYS if k in content), None)
    weights = content[key] if key else content
    pairs = weights.items() if isinstance(weights, dict) else ()
    if not pairs or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in pairs):
        raise UserError(
            'no weights in this checkpoint',
            where=path,
            value=f'keys: {", ".join(map(str, list(content)[:5]))}',
            fix='a file of models/ is needed, not one of training_states/',
        )
    weights = {k.removeprefix('module.'): v for k, v in pairs}
    trainer = next((prefix for prefix in TRAINERS if any(k.startswith(prefix) for k in weights)), '')
    return {k.removeprefix(trainer): v for k, v in weights.items() if k.startswith(trainer)}, key


@dataclass
class Mismatch:
    """How a checkpoint and a network differ, and under which key of the file its weights were found."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)
    key: str | None = None

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)

    def __str__(self) -> str:
        rows = []
        for title, keys in (('missing', self.missing), ('unexpected', self.unexpected), ('other shape', self.shapes)):
            rows += [f'  {title:<11} {key}' for key in keys[:5]]
            if len(keys) > 5:
                rows.append(f'  {title:<11} ... and {len(keys) - 5} more')
        return '\n'.join(rows)


def compare(expected: dict[str, Tensor], found: dict[str, Tensor]) -> Mismatch:
    """Compares the keys and shapes of two state_dicts."""
    apart = [k for k in expected if k in found and expected[k].shape != found[k].shape]
    return Mismatch(
        missing=[k for k in expected if k not in found],
        unexpected=[k for k in found if k not in expected],
        shapes=[f'{k}: checkpoint {list(found[k].shape)}, network {list(expected[k].shape)}' for k in apart],
    )


def _inside(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Weights of the module at `prefix`, out of those of a network that holds it; all where none does."""
    while prefix:
        found = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        if found:
            return found
        prefix = prefix.partition('.')[2]
    return weights


class Unfit(UserError):
    """A checkpoint whose weights are not those of the network at hand."""


def own_names(net: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights with the keys of `net`, where it says by ``published_weights`` what those of others are called here."""
    published = getattr(net, 'published_weights', None)
    return published(weights) if published and weights.keys() != net.state_dict().keys() else weights


def load_network(
    net: nn.Module, path: str | os.PathLike[str], strict: bool = True, param_key: str | None = None, prefix: str = ''
) -> Mismatch:
    """Loads a checkpoint of this project, or one that was published elsewhere (see own_names), into `net`.

    Args:
        strict: every key must be there and fit; otherwise what fits is loaded and the rest is returned.
        param_key: which state_dict of the file (default: params_ema, then params).
        prefix: take only the keys that start with it, without it ('bin.' gets the DSM out of a whole VOTES), or with
            its end ('second.spynet.' gets a flow network also out of a BasicVSR).

    Raises:
        Unfit: nothing fits, or strict and something differs (with a table of what differs).
        UserError: the file is unreadable.
    """
    weights, key = _weights_and_key(path, param_key)
    weights = _inside(weights, prefix)
    expected = net.state_dict()
    weights = own_names(net, weights)
    mismatch = compare(expected, weights)
    mismatch.key = key
    fits = {k: v for k, v in weights.items() if k in expected and v.shape == expected[k].shape}
    if not fits or (strict and mismatch):
        raise Unfit(
            f'checkpoint does not fit {type(net).__name__}: {len(mismatch.missing)} keys missing, '
            f'{len(mismatch.unexpected)} unexpected, {len(mismatch.shapes)} of another shape\n{mismatch}',
            where=path,
            fix='use the network options it was trained with' + ('' if not fits else ', or strict_load_g: false'),
        )
    broken = [k for k, v in fits.items() if not torch.isfinite(v).all()]
    if broken:
        raise UserError(
            'checkpoint holds NaN or Inf', where=path, value=', '.join(broken[:3]), fix='take an earlier checkpoint'
        )
    net.load_state_dict(fits, strict=False)
    return mismatch


def load_part(net: nn.Module, prefixes: tuple[str, ...], path: str | os.PathLike[str]) -> None:
    """Loads the parameters of `net` whose names begin with `prefixes`: of one module from a file of it or of a whole
    network, of several from a file of a whole network.

    Raises:
        UserError: as of load_network.
    """
    if len(prefixes) == 1 and prefixes[0].endswith('.'):
        load_network(net.get_submodule(prefixes[0][:-1]), path, prefix=prefixes[0])
        return
    weights = own_names(net, read_weights(path))
    expected = {k: v for k, v in net.state_dict().items() if k.startswith(prefixes)}
    found = {k: v for k, v in weights.items() if k.startswith(prefixes)}
    mismatch = compare(expected, found)
    if mismatch:
        raise UserError(
            f'checkpoint does not hold this part of {type(net).__name__}\n{mismatch}',
            where=path,
            value=', '.join(prefixes),
            fix='a file of the whole network is needed',
        )
    net.load_state_dict(found, strict=False)
