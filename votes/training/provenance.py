"""What something was made from, so that it is made again when that has changed: options, data, weights, earlier steps.

Contents count, not names: a folder that was moved is the same data, and a file of the same name with other bytes is not
the same file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import votes
from votes import checkpoint
from votes.data import manifest
from votes.data.clip_lists import read_meta_info
from votes.errors import UserError

Record = dict[str, Any]
# what decides neither what is made nor from what
PLACES = ('name', 'path.experiments_root', 'path.results_root', 'num_gpu', 'dist_params', 'logger')


def record(
    options: dict[str, Any], made_from: dict[str, str] | None = None, code: str | None = None, root: str = ''
) -> Record:
    """What a step with these options is made from.

    Args:
        options: resolved, nested as in an option file; files and folders that they name are looked into.
        made_from: earlier step -> its key.
        code: the version of the source; it is noted, and makes nothing stale by itself.
        root: a folder of one's own; what is said of it is said as '{out}'.

    Returns:
        'options' (dotted), 'files': dotted key -> SHA-256, 'data': dotted key of a folder -> its manifest,
        'made_from', 'code', and 'key', the digest of all but the code.
    """
    plain: dict[str, Any] = {}
    files: dict[str, str] = {}
    data: dict[str, Any] = {}
    for key, value in _flat(options).items():
        if any(key == place or key.startswith(f'{place}.') for place in PLACES):
            continue
        path = Path(value) if isinstance(value, str) and _may_be_a_path(key, value) else None
        if path is not None and _is('is_file', path):
            files[key] = checkpoint.sha256(path)
        elif path is not None and _is('is_dir', path):
            data[key] = _manifest(path, _listed(options, key))
        else:
            plain[key] = value.replace(root, '{out}') if root and isinstance(value, str) else value
    found = {'options': plain, 'files': files, 'data': data, 'made_from': made_from or {}}
    return {**found, 'key': checkpoint.checksum(_hashed(found)), 'code': code or votes.__version__}


def changes(before: Record, now: Record) -> list[str]:
    """Why something made from `before` is stale now, a line each; nothing where it is not."""
    if before.get('key') == now['key']:
        return []
    said = []
    was, new = before.get('options', {}), now['options']
    for key in sorted(was.keys() | new.keys()):
        if was.get(key) != new.get(key):
            moved = key in before.get('files', {}) or key in before.get('data', {}) or key in now['files']
            if not moved and key not in now['data']:
                said.append(f'{key}: was {was.get(key)!r}, is {new.get(key)!r}')
    for title, part in (('another file', 'files'), ('made from another', 'made_from')):
        was, new = before.get(part, {}), now[part]
        said += [f'{title}: {key}' for key in sorted(was.keys() | new.keys()) if was.get(key) != new.get(key)]
    was, new = before.get('data', {}), now['data']
    for key in sorted(was.keys() | new.keys()):
        if key not in was or key not in new:
            said.append(f'{key}: {"no longer a folder" if key in was else "a folder now"}')
        else:
            said += [f'{key}: {line}' for line in manifest.differences(was[key], new[key])]
    return said


def _hashed(found: Record) -> Record:
    return {**found, 'data': {key: content['digest'] for key, content in found['data'].items()}}


def _may_be_a_path(key: str, value: str) -> bool:
    """A word such as the name of a network is none, whatever lies in the working folder."""
    return '/' in value or '.' in value or key.rpartition('.')[2].startswith(('dataroot', 'codec_metadata'))


def _is(what: str, path: Path) -> bool:
    try:
        return bool(getattr(path, what)())
    except (OSError, ValueError):
        return False


def _flat(options: Any, prefix: str = '') -> dict[str, Any]:
    """Nested mappings and lists as one mapping with dotted keys."""
    pairs = options.items() if isinstance(options, dict) else enumerate(options)
    found: dict[str, Any] = {}
    for key, value in pairs:
        nested = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, str | dict) for v in value))
        found |= _flat(value, f'{prefix}{key}.') if nested else {f'{prefix}{key}': value}
    return found


def _listed(options: dict[str, Any], key: str) -> list[str] | None:
    """The clips that the dataset at a dotted key takes, where a list says so."""
    section: Any = options
    for part in key.split('.')[:-1]:
        section = section.get(part, {}) if isinstance(section, dict) else {}
    file = section.get('meta_info_file') if isinstance(section, dict) else None
    return list(read_meta_info(file)) if file and Path(file).is_file() else None


def _manifest(folder: Path, clips: list[str] | None) -> manifest.Manifest:
    """Of a frame source; of any other folder that of the sizes and names of its files."""
    from votes.data.sources import open_source

    try:
        source = open_source(folder)
        there = set(source.clips())
        return manifest.manifest(source, [clip for clip in clips if clip in there] if clips else None)
    except (UserError, OSError):
        rows = {}
        for path in sorted(folder.rglob('*')):
            if path.is_file():
                size = path.stat().st_size
                total = hashlib.sha256(path.read_bytes() if size < 1 << 20 else str(size).encode())
                rows[str(path.relative_to(folder))] = [1, size, 0, total.hexdigest()[:16]]
        found: manifest.Manifest = {'kind': 'folder', 'clips': rows, 'frames': {}}
        return {**found, 'digest': checkpoint.checksum(found)}
