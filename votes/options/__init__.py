"""YAML file -> checked, typed options. Every problem of a file is reported at once, with its line."""
from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from votes.errors import UserError
from votes.options.check import all_signature_problems, consistency_problems, nearest, path_problems
from votes.options.schema import DatasetOptions, Options, Section, Spec, ValOptions
from votes.options.yaml_file import Key, OptionFile, apply_overrides, read_option_file, walk

SHIPPED_LISTS = Path(__file__).resolve().parents[1] / 'data' / 'meta_info'
OLDER_NAMES = {'pretrain_model_g': 'pretrain_network_g', 'strict_load': 'strict_load_g'}
NO_EFFECT = {'senmap_iter', 'dataroot_mask', 'dataroot_flow', 'prefetch_mode', 'num_prefetch_queue', 'find_unused_parameters',
             'pbar'}


class OptionError(UserError):
    """Everything that is wrong with an option file. `problems` holds a line each."""

    def __init__(self, path: str | Path, problems: list[str]):
        count = 'a problem' if len(problems) == 1 else f'{len(problems)} problems'
        super().__init__('\n'.join([f'{count} in {path}', *(f'  {p}' for p in problems)]))
        self.problems = problems


def _accept_habits(file: OptionFile) -> list[str]:
    """Takes what option files of the release and of BasicSR say in other words. Returns notices."""
    notices = []
    path = file.data.setdefault('path', {})
    network = file.data.get('network_g')
    if isinstance(path, dict):
        for old, new in OLDER_NAMES.items():
            if old in path:
                path.setdefault(new, path.pop(old))
                file.places['path', new] = file.places['path', old]
        if isinstance(network, dict) and network.get('type') == 'VOTES' and 'bin_model' in network:
            in_network = network.pop('bin_model')
            if in_network is not None and path.get('bin_model') not in (None, in_network):
                file.problems.append(f'{file.place(("network_g", "bin_model"))}: network_g.bin_model: path.bin_model names another file')
            path['bin_model'] = in_network or path.get('bin_model')
            file.places['path', 'bin_model'] = file.place(('network_g', 'bin_model'))
    datasets = file.data.get('datasets')
    if isinstance(datasets, dict):
        for name in [name for name, data in datasets.items() if data is None]:
            del datasets[name]      # `val: ~` over a base file
        for data in datasets.values():
            notices += _shipped_lists(data) if isinstance(data, dict) else []
    idle = sorted({name for _, section in walk(file.data) for name, value in section.items() if name in NO_EFFECT and value is not None}
                  | {name for key, section in walk(file.data) for name in section if name == 'senmap_iter' and key == ('train',)})
    if idle:
        notices.append(f'keys that have no effect here: {", ".join(idle)}')
    return notices


def _shipped_lists(data: dict[str, Any]) -> list[str]:
    """Clip lists that are not where an option file points, but come with this package."""
    notices = []
    for name in ('meta_info_file', 'meta_val_file', 'meta_test_file'):
        value = data.get(name)
        if isinstance(value, str) and not Path(value).is_file() and (SHIPPED_LISTS / Path(value).name).is_file():
            data[name] = str(SHIPPED_LISTS / Path(value).name)
            notices.append(f'{value}: the list that comes with this package is used')
    return notices


def _schema_problems(error: ValidationError, file: OptionFile) -> list[tuple[Key, str]]:
    """pydantic's errors in our words."""
    problems: list[tuple[Key, str]] = []
    for item in error.errors():
        key = tuple(part for part in item['loc'] if part in _keys_below(file.data, item['loc']) or item['type'] == 'missing')
        if item['type'] == 'extra_forbidden':
            problems.append((key, f'unknown key{nearest(str(item["loc"][-1]), _known_beside(item["loc"]))}'))
        elif item['type'] == 'missing':
            problems.append((key, 'is missing'))
        else:
            problems.append((key, f'{item["msg"]} (value {item["input"]!r})'))
    return problems


def _keys_below(data: Any, loc: Key) -> set[Any]:
    """The parts of `loc` that are keys of the file, not names that pydantic gives to alternatives."""
    parts: set[Any] = set()
    for part in loc:
        if isinstance(data, dict) and part in data:
            parts.add(part)
            data = data[part]
        elif isinstance(data, list) and isinstance(part, int):
            parts.add(part)
    return parts


def _known_beside(loc: Key) -> list[str]:
    """The keys of the section that an unknown key stands in."""
    section: type[Any] = Options
    for part in loc[:-1]:
        field = section.model_fields.get(str(part))
        candidates = [field.annotation, *getattr(field.annotation, '__args__', ())] if field else []
        section = next((c for c in candidates if isinstance(c, type) and issubclass(c, Section)), section)
    return list(section.model_fields)


def load_options(path: str | Path, mode: Literal['train', 'test'] | str = 'train', overrides: list[str] | None = None,
                 check_paths: bool = True) -> Options:
    """Reads, completes and checks an option file.

    Args:
        mode: 'train' needs the sections that training needs, 'test' weights and a dataset.
        overrides: 'train.total_iter=100' and the like.
        check_paths: False leaves out whether files and folders exist.

    Raises:
        OptionError: every problem of the file, each as 'FILE:LINE: key: what is wrong'.
        UserError: a file cannot be read as YAML.
    """
    file = read_option_file(path)
    apply_overrides(file, overrides or [])
    notices = _accept_habits(file)
    found: list[tuple[Key, str]] = []
    opt = None
    try:
        opt = Options(**file.data)
    except ValidationError as error:
        found += _schema_problems(error, file)
    if opt is not None:
        opt.notices = notices
        found += all_signature_problems(opt)
        if not found:
            found += consistency_problems(opt, mode)
        if check_paths:
            found += path_problems(opt, mode)
    problems = file.problems + [f'{file.place(key) or path}: {".".join(map(str, key))}: {text}' if key else f'{path}: {text}'
                                for key, text in found]
    if problems or opt is None:
        raise OptionError(path, problems)
    if opt.val is None:
        opt.val = ValOptions()
    if opt.logger.wandb and opt.logger.wandb.project:
        opt.notices.append('logger.wandb has no effect: metrics.jsonl and TensorBoard are written')
    if opt.debug:
        opt.logger.print_freq, opt.logger.save_checkpoint_freq, opt.val.val_freq = 1, 8, 8
    return opt


__all__ = ['DatasetOptions', 'OptionError', 'Options', 'Spec', 'load_options']
