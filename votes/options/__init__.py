"""YAML file -> checked, typed options. Every problem of a file is reported at once, with its line."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from votes.errors import UserError
from votes.options.check import all_signature_problems, consistency_problems, key_in, nearest
from votes.options.foreign import refusals
from votes.options.habits import accept_habits
from votes.options.paths import drop_spare_dsm, path_problems
from votes.options.schema import (
    DatasetOptions,
    Options,
    PartOptions,
    Section,
    Spec,
    TrainOptions,
    ValOptions,
    sections_in,
)
from votes.options.trials import nan_problems, value_problems
from votes.options.yaml_file import Key, OptionFile, apply_overrides, dotted, read_option_file

# what stands for a required key while the rest of a file is checked
STAND_INS: dict[str, Any] = {
    **{key: {'type': ''} for key in ('network_g', 'optim_g', 'pixel_opt')},
    **dict.fromkeys(('model_type', 'type'), ''),
    **dict.fromkeys(('scale', 'total_iter'), 1),
    'name': '-',
    'datasets': {},
}


class OptionError(UserError):
    """Everything that is wrong with an option file. `problems` holds a line each."""

    def __init__(self, path: str | Path, problems: list[str]):
        count = 'a problem' if len(problems) == 1 else f'{len(problems)} problems'
        super().__init__('\n'.join([f'{count} in {path}', *(f'  {p}' for p in problems)]))
        self.problems = problems


def _build(file: OptionFile) -> tuple[Options, dict[Key, str]]:
    """Options, and what the schema found wrong; such keys are left at their defaults, or at 0 or ''."""
    try:
        return Options(**file.data), {}
    except ValidationError as error:
        problems = _schema_problems(error, file.data)
    data = copy.deepcopy(file.data)
    for key in problems:
        section: dict[Any, Any] = data
        for part in key[:-1]:
            section = section[part]
        section.pop(key[-1], None)
        required = problems[key] == 'is missing' or key[-1] in _known_beside(key)
        if key[-1] in STAND_INS and required:
            section[key[-1]] = copy.deepcopy(STAND_INS[str(key[-1])])
    opt = Options(**data)
    if ('scale',) in problems:
        opt.scale = 0
    if opt.train and ('train', 'total_iter') in problems:
        opt.train.total_iter = 0
    return opt, problems


def _schema_problems(error: ValidationError, data: dict[str, Any]) -> dict[Key, str]:
    """pydantic's errors in our words, one a key."""
    problems: dict[Key, str] = {}
    for item in error.errors():
        key = key_in(data, item['loc'])
        if item['type'] == 'extra_forbidden':
            problems[key] = f'unknown key{nearest(str(key[-1]), _known_beside(key))}'
        elif item['type'] == 'missing':
            problems[*key, str(item['loc'][-1])] = 'is missing'
        else:
            problems.setdefault(key, f'{item["msg"]} (value {item["input"]!r})')
    return problems


def _known_beside(key: Key) -> list[str]:
    """The keys of the section that an unknown key stands in."""
    section: type[Any] = Options
    for part in key[:-1]:
        field = section.model_fields.get(str(part))
        inner = [part for part in sections_in(field.annotation) if issubclass(part, Section)] if field else []
        section = inner[0] if inner else section
    return list(section.model_fields)


def load_options(
    path: str | Path, mode: str = 'train', overrides: list[str] | None = None, check_paths: bool = True
) -> Options:
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
    opt, problems = examine(file, mode, check_paths)
    said = file.problems + [f'{_place(file, key, path)}: {text}' for key, text in problems]
    if said:
        raise OptionError(path, said)
    if opt.debug:
        opt.logger.print_freq, opt.logger.save_checkpoint_freq, opt.validation.val_freq = 1, 8, 8
    return opt


def _place(file: OptionFile, key: Key, path: str | Path) -> str:
    place = file.place(key) or str(path)
    return f'{place}: {dotted(key)}' if key else place


def examine(file: OptionFile, mode: str = 'train', check_paths: bool = False) -> tuple[Options, list[tuple[Key, str]]]:
    """Options as complete as the content of a file allows, and every problem with its key. `file.data` is rewritten
    into the words of the schema, see accept_habits.

    Raises:
        OptionError: it is of another program, or of things that are not here: a sentence each, and nothing else.
    """
    refused = refusals(file.data)
    if refused:
        where = file.place(('name',)).rpartition(':')[0] or 'the option file'
        raise OptionError(where, [f'{_place(file, key, where)}: {text}' for key, text in refused])
    notices = accept_habits(file)
    opt, found = _build(file)
    opt.notices.extend(notices)
    derived = list(all_signature_problems(opt))
    buildable = not any(key[0] == 'network_g' for key in [*found, *(key for key, _ in derived)])
    derived += consistency_problems(opt, mode, buildable)
    derived += [*nan_problems(opt.model_dump()), *(value_problems(opt) if mode == 'train' else ())]
    if check_paths:
        opt.notices.extend(drop_spare_dsm(opt, mode))
        derived += path_problems(opt, mode)
    # what the schema says about a key is enough
    derived = [(key, text) for key, text in derived if not any(key[: n + 1] in found for n in range(len(key)))]
    opt.val = opt.val or ValOptions()
    return opt, [*found.items(), *derived]


__all__ = ['DatasetOptions', 'OptionError', 'Options', 'PartOptions', 'Spec', 'TrainOptions', 'examine', 'load_options']
