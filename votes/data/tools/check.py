"""`votes check-data`: what is wrong with the pairs of an option file, found before anything is trained on them."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from votes import checkpoint
from votes.data.degrading import OnTheFly
from votes.data.pairs import ClipPairs
from votes.data.sources import FolderSource, picture_header
from votes.data.tools.check_content import examined
from votes.data.tools.check_fix import write_fixed
from votes.errors import UserError
from votes.options import DatasetOptions, load_options
from votes.options.yaml_file import read_option_file
from votes.registry import DATASETS


@dataclass
class Finding:
    """One thing that was found. An 'error' means that training on this data makes no sense."""

    level: str
    dataset: str
    clip: str
    text: str
    fix: str

    def __str__(self) -> str:
        return f'{self.level}: {self.dataset}, {self.clip}: {self.text}\n    {self.fix}'


@dataclass
class Check:
    """Looks through datasets, and counts the frames of LQ that were `read`, of how many there are.

    Args:
        everything: reads all frames; otherwise some 24 of each clip, spread over it, and those whose files stand out.
        good: takes a meta_info list of the training clips in which no error was found.
        fixed: takes the clips of every dataset, those with errors repaired where that can be done, see check_fix.
        made: whether LQ of a clip was made of its GT here: it is not compared with it.
    """

    everything: bool = False
    good: Path | None = None
    fixed: Path | None = None
    made: Callable[[str], bool] = lambda clip: False
    read: int = 0
    there: int = 0

    def option_file(self, path: str | Path) -> list[Finding]:
        """Of every dataset of an option file. Weights that it names need not be there.

        Raises:
            UserError: the option file itself is wrong.
        """
        datasets = read_option_file(path).data.get('datasets')
        mode = 'train' if isinstance(datasets, dict) and datasets.get('train') else 'test'
        opt = load_options(path, mode=mode, check_paths=False)
        return [found for name, data in opt.datasets.items() for found in self._dataset(name, data, opt.scale)]

    def _dataset(self, name: str, data: DatasetOptions, scale: int) -> Iterator[Finding]:
        args, least = data.args, int(data.args.get('num_frame', 5))
        chosen = {key: value for key, value in args.items() if key in inspect.signature(ClipPairs).parameters}
        chosen |= {'scale': scale, 'middle_gt': getattr(DATASETS.get(data.type), 'middle_gt', False)}
        try:
            pairs = ClipPairs(**chosen, least=least, tolerant=True)
        except UserError as error:
            yield Finding('error', name, 'all clips', error.what, str(error.details['fix'] or 'see above'))
            return
        spoilt = set(pairs.problems)
        for clip, problem in pairs.problems.items():
            yield Finding('error', name, clip, problem, _remedy(pairs, clip, scale))
        for clip in pairs.names():
            for level, text, fix in self._clip(pairs, clip, int(args.get('gt_size', 0)) // scale):
                spoilt |= {clip} if level == 'error' else set()
                yield Finding(level, name, clip, text, fix)
        clean = [f'{clip} {pairs.lengths[clip]}' for clip in pairs.names() if clip not in spoilt]
        if self.good and name == 'train' and spoilt and clean:
            checkpoint.write_text(self.good, '\n'.join(clean) + '\n')
            fix = f'in the option file: datasets.{name}.meta_info_file: {self.good}'
            yield Finding('note', name, f'{len(clean)} clips', 'have no error', fix)
        if self.fixed and not isinstance(pairs.lq, OnTheFly):
            for clip, said, fix in write_fixed(pairs, spoilt, self.fixed / name, least):
                yield Finding('note', name, clip, said, fix)

    def _clip(self, pairs: ClipPairs, clip: str, crop: int) -> Iterator[tuple[str, str, str]]:
        """(level, what, what to do)."""
        smallest = min(pairs.lq.size(clip))
        if crop > smallest:
            yield 'error', 'gt_size is larger than its frames', f'gt_size: {smallest // 4 * 4 * pairs.scale} or less'
        yield from depths(pairs, clip)
        if isinstance(pairs.lq, OnTheFly) or self.made(clip) or (pairs.middle_gt and pairs.gt.length(clip) == 1):
            return  # what is made from GT belongs to it, and one frame says nothing about time
        try:
            looked = examined(pairs, clip, self.everything)
        except UserError as error:
            yield 'error', error.line, str(error.details['fix'] or 'replace it')
            return
        self.read += looked.read
        self.there += pairs.lengths[clip]
        yield from looked.found


def _remedy(pairs: ClipPairs, clip: str, scale: int) -> str:
    """What to change for a clip that is no pair."""
    try:
        lq, gt = (source.size(clip) for source in (pairs.lq, pairs.gt))
    except UserError:
        return 'mend or remove it, or leave it out: --write-list GOOD.txt'
    ratio = round(gt[0] / lq[0])
    if ratio not in (0, scale) and all(abs(g - n * ratio) < ratio for g, n in zip(gt, lq, strict=True)):
        return f'in the option file: scale: {ratio}'
    return 'leave it out: --write-list GOOD.txt writes a meta_info_file of the others'


def depths(pairs: ClipPairs, clip: str) -> Iterator[tuple[str, str, str]]:
    """Pictures of more than 8 bits, and grey ones beside coloured ones: (level, what, what to do)."""
    kinds = {}
    for side, source in (('LQ', pairs.lq), ('GT', pairs.gt)):
        if isinstance(source, FolderSource):
            _, *kinds[side] = picture_header(source.root / clip / source.files(clip)[0])
    for side, (bits, _) in kinds.items():
        if bits > 8:
            yield 'warning', f'{side} has {bits} bits a channel, 8 are used', 'nothing, or write it with 8 bits'
    if len({coloured for _, coloured in kinds.values()}) == 2:
        grey = next(side for side, (_, coloured) in kinds.items() if not coloured)
        yield 'error', f'{grey} is grey and the other is not', 'extract both with their colours'


def may_train(found: list[Finding]) -> bool:
    return not any(f.level == 'error' for f in found)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-opt', required=True, metavar='FILE.yml', help='option file whose datasets are looked through')
    parser.add_argument('--all', action='store_true', help='read every frame, not some 24 spread over each clip')
    parser.add_argument('--json', action='store_true', help='findings as JSON')
    parser.add_argument('--write-list', type=Path, metavar='GOOD.txt', help='meta_info list of training clips that fit')
    parser.add_argument('--write-fixed', type=Path, metavar='DIR', help='all clips again, repaired where possible')


def run(args: argparse.Namespace) -> int:
    check = Check(args.all, args.write_list, args.write_fixed)
    found = check.option_file(args.opt)
    if args.json:
        findings = [asdict(each) for each in found]
        about = {'may_train': may_train(found), 'findings': findings, 'frames_read': check.read, 'frames': check.there}
        print(json.dumps(about, indent=1))
    else:
        print('\n'.join([*map(str, found), *([] if found else ['nothing found'])]))
        spread = '' if check.read >= check.there else ', spread over each clip; --all reads all'
        print(f'({check.read} of {check.there} frames of LQ were read{spread})')
    return 0 if may_train(found) else 1
