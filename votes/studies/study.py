"""A study: the jobs, the rows and the figure of a paper's table, from options/studies/NETWORK/NAME.yml."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import votes
from votes.errors import UserError
from votes.options.schema import key
from votes.options.shipped import shipped
from votes.options.yaml_file import apply_overrides, dotted, read_option_file

SOURCE = Path(votes.__file__).resolve().parents[1]
Baseline = Literal['bicubic', 'bilinear', 'LQ', 'chance']
PROGRAMS = ('train', 'test', 'dfm_error', 'video_costs')


class Part(BaseModel):
    """A mapping of known keys, once for each combination of the values in `foreach`, which fill {NAME} in its texts.
    A table in place of a list, ``{ROW: {COLUMN: value}}``, fills {NAME} with each ROW and {NAME.COLUMN} with its value.
    """

    model_config = ConfigDict(extra='forbid')
    foreach: dict[str, list[Any] | dict[str, dict[str, Any]]] = {}


class Job(Part):
    """One command. Exactly one of `train`, `test`, `dfm_error`, `video_costs` (option files) and `verb` (arguments of
    `votes`).
    """

    train: str | None = None
    test: str | None = None
    dfm_error: str | None = key('test option file: correlation of DFM and error', None)
    video_costs: str | None = key('test option file: warping error, speed, memory', None)
    minutes: float | None = key('a training job: as many steps as take so long here; some are timed first', None, gt=0)
    verb: list[str | int | float] | None = None
    makes: str | None = key('of a verb: what is there when it is done', None)
    beside: list[str] = key('of a verb: other folders that it writes; made anew when `makes` is', [])
    inside: str | None = key('of a verb: the folder that it runs in', None)
    codes: list[int] = key('of a verb: exit codes that are results, beside 0', [])
    set: dict[str, Any] = key('dotted key of the option file -> value', {})
    weights: str | None = key('a training job: path.pretrain_network_g, {weights} of a verb', None)
    best: bool = key("of `weights`, those that were best on the training's validation clips", False)
    dsm: str | None = key('a training job: path.bin_model', None)
    after: list[str] = []

    @model_validator(mode='after')
    def _one_command(self) -> Job:
        if sum(getattr(self, name) is not None for name in (*PROGRAMS, 'verb')) != 1:
            raise ValueError(f'exactly one of {", ".join(PROGRAMS)} and verb is needed')
        return self

    @property
    def program(self) -> str:
        """The program that it runs, or 'verb'."""
        return next((name for name in PROGRAMS if getattr(self, name) is not None), 'verb')

    @property
    def trains(self) -> bool:
        """Whether it makes weights: experiments/NAME, where it is finetune_NAME for `votes finetune`."""
        return self.train is not None or (self.verb is not None and self.verb[0] == 'finetune')

    @property
    def needs(self) -> list[str]:
        """Jobs that come first."""
        return [name for name in (self.weights, self.dsm) if name] + self.after


class Row(Part):
    """A line of the table: measured by jobs, beside what was published, with what it claims.

    A row of `results` alone shows them, and is compared with published values. With `minus` it claims a gain, with
    `order` an order, with `measure` a correlation: these have an interval over clips and seeds, see `claims`.
    In lists of jobs a name with {seed} stands for those of all seeds.
    """

    label: str
    results: list[str] = key('test jobs, one a seed; several are averaged', [])
    minus: list[str] | Baseline = key('test jobs of the same seeds and clips, or a baseline, to gain over', [])
    order: dict[str, list[str]] = key('name -> test jobs: the claim is the order of their published values', {})
    measure: list[str] = key('dfm_error jobs, one a seed: a correlation above 0', [])
    costs: list[str] = key('video_costs jobs of the same networks', [])
    curve: list[str] = key('fine-tuning jobs whose validations are drawn', [])
    published: dict[str, float] = key('metric -> value, or gain; of an order name -> value', {})
    above: float | None = key('what is claimed where no number is published (0)', None)
    metrics: list[str] = key('of a gain without published ones', ['psnr'])
    alike: bool = key('both sides of a gain are trained on the same data, steps and seeds', True)
    x: float | None = None
    place: tuple[str, str] | None = key('row and column in a matrix', None)

    @property
    def jobs(self) -> list[str]:
        """What it is measured by."""
        ordered = [name for names in self.order.values() for name in names]
        return [*self.results, *self.others, *ordered, *self.measure, *self.costs, *self.curve]

    @property
    def others(self) -> list[str]:
        """The test jobs that `results` are a gain over, where that is no baseline."""
        return self.minus if isinstance(self.minus, list) else []

    @model_validator(mode='after')
    def _one_claim(self) -> Row:
        if sum(map(bool, (self.results, self.order, self.measure))) != 1:
            raise ValueError('exactly one of results, order and measure is needed')
        if self.others and len(self.others) != len(self.results):
            raise ValueError(f'{len(self.results)} results minus {len(self.others)}: pairs are needed')
        if self.order and (self.order.keys() != self.published.keys() or len(set(map(len, self.order.values()))) != 1):
            raise ValueError('an order needs a published value and as many jobs for each name')
        return self


class Figure(BaseModel):
    """How the rows are drawn."""

    model_config = ConfigDict(extra='forbid')
    kind: Literal['bars', 'line', 'curves', 'matrix', 'gains'] = 'bars'
    x: str = ''
    y: str = 'psnr'
    rows: str = key('of a matrix, what its rows are', 'trained on')
    columns: str = 'tested on'


class Study(BaseModel):
    """A whole study. `quick` replaces jobs, rows and notes by those of small networks on demo data."""

    model_config = ConfigDict(extra='forbid')
    name: str
    title: str
    jobs: dict[str, Job]
    rows: list[Row] = Field(min_length=1)
    seeds: list[int] = key('what {seed} stands for', [])
    values: dict[str, Any] = key('NAME -> what {NAME} stands for everywhere; --set values.NAME=VALUE changes it', {})
    versions: bool = key('clips qp28/NAME and qp33/NAME are one video: their mean counts', False)
    tolerance: dict[str, float] = key('on both sides of a published value', {})
    resolution: dict[str, float] = key(
        'what is not worth a claim: an interval that ends below it shows no gain of that size',
        {'psnr': 0.05, 'ssim': 0.002, 'correlation': 0.1, 'order': 0.2},
    )
    figure: Figure = Figure()
    costs: bool = key('parameters and seconds of training stand beside the numbers', False)
    notes: list[str] = []
    folder: Path = Field(default=Path('.'), exclude=True, description='of the file: {here} in its jobs')

    @model_validator(mode='after')
    def _known_jobs(self) -> Study:
        asked = [
            *((f'job {n}', j.needs) for n, j in self.jobs.items()),
            *((f'row {r.label}', r.jobs) for r in self.rows),
        ]
        for who, needed in asked:
            unknown = [name for name in needed if name not in self.jobs]
            if unknown:
                raise ValueError(f'{who} names unknown jobs: {", ".join(unknown)}')
        return self


def find_study(name: str) -> Path:
    """The file of a study: a path, or a name under options/studies here or beside the package.

    Raises:
        UserError: there is none; those that are are named.
    """
    if Path(name).is_file():
        return Path(name)
    for root in (Path('options').absolute(), shipped()):
        for path in sorted((root / 'studies').rglob(f'{name}.yml')):
            return path
    raise UserError(f'no study {name!r}', fix=f'a YAML file, or {", ".join(shipped_studies())}')


def shipped_studies() -> list[str]:
    """Names of the studies that come with the package."""
    return sorted(path.stem for path in (shipped() / 'studies').rglob('*.yml'))


def read_study(path: str | Path, quick: bool = False, overrides: list[str] | None = None) -> Study:
    """A study from its file, `foreach` and `values` spelt out.

    Args:
        overrides: 'values.minutes=10' and the like.

    Raises:
        UserError: every problem of the file, with its line; or there is no quick version.
    """
    file = read_option_file(path)
    apply_overrides(file, overrides or [])
    data = dict(file.data)
    small = data.pop('quick', None)
    if quick:
        if not small:
            raise UserError('this study has no quick version', where=path)
        data = {**data, 'tolerance': {}, 'notes': [], **small, 'name': f'{data.get("name")}_quick'}
    problems = list(file.problems)
    data = _filled(data, data.get('values') or {})
    try:
        seeds = data.get('seeds') or []
        data['jobs'] = dict(_spelt_out(data.get('jobs') or {}, seeds))
        rows = _spelt_out(dict(enumerate(data.get('rows') or [])), seeds)
        data['rows'] = [{key: _of_all_seeds(value, seeds) for key, value in row.items()} for _, row in rows]
        study = Study(**{**data, 'folder': Path(path).absolute().parent})
    except ValidationError as error:
        problems += [f'  {dotted(tuple(e["loc"]))}: {e["msg"]}' for e in error.errors()]
    except (KeyError, AttributeError) as error:
        raise UserError('bad foreach in a study', where=path, value=error) from error
    if problems:
        raise UserError('\n'.join([f'problems in {path}', *problems]))
    return study


def _spelt_out(parts: dict[Any, Any], seeds: list[int]) -> list[tuple[Any, Any]]:
    """Every part of a mapping, filled in with each combination of its `foreach`; a name with {seed} with every seed:
    all of the first seed, then all of the next.
    """
    found = []
    for called, part in parts.items():
        wanted = {**({'seed': seeds} if '{seed}' in str(called) else {}), **(part.get('foreach') or {})}
        rest = {name: value for name, value in part.items() if name != 'foreach'}
        for values in itertools.product(*wanted.values()):
            names = dict(zip(wanted, values, strict=True))
            for name, table in wanted.items():
                if isinstance(table, dict):
                    names |= {f'{name}.{column}': value for column, value in table[names[name]].items()}
            found.append((_filled(called, names), _filled(rest, names)))
    return found


def _of_all_seeds(value: Any, seeds: list[int]) -> Any:
    """A list of jobs in which a name with {seed} became those of all seeds, also inside of a mapping."""
    if isinstance(value, dict):
        return {key: _of_all_seeds(part, seeds) for key, part in value.items()}
    if not isinstance(value, list):
        return value
    each = [(text, '{seed}' in text) for text in map(str, value)] if all(isinstance(v, str) for v in value) else []
    if not each:
        return value
    return [text.replace('{seed}', str(seed)) for text, several in each for seed in (seeds if several else [''])]


def each_text(value: Any, change: Callable[[str], Any]) -> Any:
    """A value with every text in it changed, also inside lists and mappings and their keys."""
    if isinstance(value, list):
        return [each_text(part, change) for part in value]
    if isinstance(value, dict):
        return {each_text(key, change): each_text(part, change) for key, part in value.items()}
    return change(value) if isinstance(value, str) else value


def _filled(value: Any, names: dict[str, Any]) -> Any:
    """Texts with {NAME} replaced; one that is nothing but {NAME} becomes its value."""

    def change(text: str) -> Any:
        if text.startswith('{') and text[1:-1] in names and text.endswith('}'):
            return names[text[1:-1]]
        for name, replacement in names.items():
            text = text.replace('{' + name + '}', str(replacement))
        return text

    return each_text(value, change)


def as_override(key: str, value: Any) -> str:
    """KEY=VALUE for the command line of an option file."""
    return f'{key}={"~" if value is None else value if isinstance(value, str) else json.dumps(value)}'
