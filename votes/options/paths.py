"""Files and folders that an option file names: whether they are there."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from votes.options.check import Problem, blueprint
from votes.options.habits import LISTS
from votes.options.schema import Options
from votes.options.yaml_file import Key


def drop_spare_dsm(opt: Options, mode: str) -> list[str]:
    """Forgets a `bin_model` that is not there where it is not needed. Returns notices."""
    path = opt.path
    if not path.bin_model or Path(path.bin_model).is_file():
        return []
    if mode == 'test' or path.pretrain_network_g or path.resume_state:
        reason = 'the DSM is taken from the weights of the whole network'
    elif not getattr(blueprint(opt.network_g)[0], 'trained_before', True):
        reason = 'the network looks at no degradation map'
    else:
        return []
    notice = f'bin_model {path.bin_model} is not there: {reason}'
    path.bin_model = None
    return [notice]


def path_problems(opt: Options, mode: str) -> Iterator[Problem]:
    """Files and folders that are not there, of datasets that `mode` uses."""
    files: list[tuple[Key, str | None]] = []
    for key, data in opt.datasets.items():
        if key == 'train' and mode == 'test':
            continue
        for name in ('dataroot_gt', 'dataroot_lq', 'dataroot_once', 'codec_metadata'):
            value = data.args.get(name)
            if isinstance(value, str) and not Path(value).is_dir():
                yield ('datasets', key, name), f'no such folder: {value}{_beside(Path(value))}'
        for name in (*LISTS, 'degradation'):
            value = data.args.get(name)
            files += [(('datasets', key, name), file) for file in ([value] if isinstance(value, str) else value or [])]
    files += [(('path', name), getattr(opt.path, name)) for name in ('pretrain_network_g', 'resume_state', 'bin_model')]
    files += [(('path', 'parts', name), file) for name, file in opt.path.parts.items()]
    parts = opt.train.parts if opt.train else {}
    files += [(('train', 'parts', name, 'weights'), plan.weights) for name, plan in parts.items()]
    for place, file in files:
        if file and not Path(file).is_file():
            yield place, f'no such file: {file}{_beside(Path(file))}'


def _beside(path: Path) -> str:
    """What stands where the path breaks off."""
    while not path.parent.is_dir() and path != path.parent:
        path = path.parent
    try:
        names = sorted(p.name for p in path.parent.iterdir())
    except OSError:
        return ''
    near = difflib.get_close_matches(path.name, names, n=3) or names[:3]
    return f' ({path.parent.absolute()} has {", ".join(near) or "nothing"})'
