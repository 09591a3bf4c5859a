"""`votes check-network`: whether a network keeps what its class promises, from its constructor to a restored video."""

from __future__ import annotations

import argparse
import inspect
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from votes.archs import build_network, infer_options
from votes.archs.contract import Causal, Clip, Frame, Promise, Window, apply, promise
from votes.archs.fields import FIELDS, reversed_in_time, turned, turned_back
from votes.commands import trial_run
from votes.errors import UserError
from votes.inference.stream import Stream
from votes.inference.tiles import Limits
from votes.inference.views import View, Views
from votes.processes.program import add_overrides
from votes.registry import NETWORKS

ODD = (37, 45)  # rows and columns that no promise of multiples allows
TALL = (48, 24)  # two tiles of 32
CLOSE = 25.0  # dB, of the signal above the difference: bf16 against float32
SEED = 5


@dataclass
class Finding:
    """What came of one check.

    Attributes:
        problem: None where the promise is kept.
    """

    name: str
    problem: str | None
    seconds: float

    def __str__(self) -> str:
        return f'{"FAIL" if self.problem else "ok  "} {self.name}' + (f': {self.problem}' if self.problem else '')


class Broken(Exception):
    """A promise that is not kept."""


def sample_for(said: Promise, count: int, size: tuple[int, int], seed: int = SEED) -> dict[str, Tensor]:
    """A random sample (1, T, ...) with all fields that a network reads."""
    generator = torch.Generator().manual_seed(seed)
    sample = {'lq': torch.rand(1, count, 3, *size, generator=generator)}
    for name in said.inputs:
        field = FIELDS[name]
        shape: tuple[int, ...] = (1, count)
        if field.spatial:
            shape = (1, count, {'vectors': 2, 'picture': 3}.get(field.kind, 1), *size)
        values = torch.rand(shape, generator=generator)
        if field.kind == 'vectors':
            values = (values * 8 - 4).round() / 4
        elif name == 'pict_type':
            values = torch.tensor([ord('IPB'[i % 3]) for i in range(count)]).view(1, count)
        elif name == 'qp':
            values = (values * 20 + 20).round()
        elif name.endswith('valid') or name == 'pqf':
            values = values > 0.3
        elif name == 'scene':
            values = (values > 0.8).cumsum(1)
        sample[name] = values
    return sample


def length_of(said: Promise) -> int:
    """Frames of a clip that is a little longer than what a network must have."""
    return said.frames(3) if isinstance(said.sees, Window | Frame) else max(4, said.sees.least)


def build(options: dict[str, Any]) -> nn.Module:
    torch.manual_seed(SEED)
    return build_network(options)


class Checks:
    """The checks of one network, each a method that raises where something is wrong.

    Args:
        name: in the registry, or module:Class.
        more: constructor arguments in place of those of `small`.
    """

    def __init__(self, name: str, more: dict[str, Any] | None = None):
        cls = NETWORKS.get(name)
        self.options = {'type': name, **getattr(cls, 'small', {}), **(more or {})}
        self.net = build(self.options)
        self.whole = getattr(self.net, 'sees', None) is not None or hasattr(self.net, 'num_frame')
        if self.whole:
            self.said = promise(self.net)

    def gradients(self) -> None:
        """every trained parameter gets a gradient"""
        self.net.train()
        least = self.said.smallest
        sample = sample_for(self.said, length_of(self.said), (max(ODD[0], least), max(ODD[1], least)))
        result = apply(self.net, sample)
        terms = [value.square().mean() for value in result.values() if value.requires_grad]
        torch.stack(terms).sum().backward()
        without = [n for n, p in self.net.named_parameters() if p.requires_grad and p.grad is None]
        self.net.zero_grad(set_to_none=True)
        if without:
            raise Broken(f'none for {", ".join(without[:4])}' + (' ...' if len(without) > 4 else ''))

    def sizes(self) -> None:
        """frames of any size, and clips as short as promised"""
        shortest = self.said.frames()
        for count, size in ((shortest, ODD), (length_of(self.said), (ODD[1], ODD[0])), (shortest, (8, 8))):
            out = self._applied(sample_for(self.said, count, size))['out']
            if not torch.isfinite(out).all():
                raise Broken(f'NaN or Inf for {count} frames of {size}')

    def stream(self) -> None:
        """a stream gives what the network gives for the same frames, bit for bit"""
        count = length_of(self.said) + 1
        sample = sample_for(self.said, count, (32, 32))
        streamed = self._streamed(sample)
        if isinstance(self.said.sees, Window):
            views = self._views(sample)
            windows = ({name: x[:, view.indices] for name, x in sample.items()} for view in views)
            expected = torch.cat([self._applied(window)['out'][0] for window in windows])
        elif isinstance(self.said.sees, Frame):
            alone = [self._applied({k: v[:, i : i + 1] for k, v in sample.items()})['out'][0] for i in range(count)]
            expected = torch.cat(alone)
        else:
            expected = self._applied(sample)['out'][0]
        if not torch.equal(streamed, expected):
            raise Broken(f'they differ by up to {float((streamed - expected).abs().max()):.2g}')

    def steps(self) -> None:
        """a whole clip is what its frames give one after the other"""
        sample = sample_for(self.said, length_of(self.said) + 2, (32, 32))
        with torch.no_grad():
            stepped = self._applied(sample)['out']
            self.net.train()
            for module in self.net.modules():  # what draws or averages over a batch stays as it is in evaluation
                if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.modules.dropout._DropoutNd):
                    module.eval()
            apart = float((apply(self.net, sample)['out'] - stepped).abs().max())
        if apart > 1e-4 * max(1.0, float(stepped.abs().max())):
            raise Broken(f'they differ by up to {apart:.2g}')

    def pieces(self) -> None:
        """a long clip in pieces, and a frame in tiles, come out whole"""
        sees = self.said.sees
        count = sees.frames // 2 + 2 if isinstance(sees, Window) else length_of(self.said) + 1
        tiled = self._streamed(sample_for(self.said, count, TALL), piece=count // 2 + 1, tile=32)
        whole = (count, 3, *(self.said.scale * n for n in TALL))
        if tiled.shape != whole or not torch.isfinite(tiled).all():
            raise Broken(f'{tuple(tiled.shape)} instead of {whole}, or NaN')

    def side_information(self) -> None:
        """fields that are turned, reversed and turned back are the same, and are taken in any orientation"""
        sample = sample_for(self.said, length_of(self.said), (32, 48))
        for turn in ((True, False, False), (False, True, True), (True, True, True)):
            there = {name: turned(name, x, turn) for name, x in sample.items()}
            back = {name: turned_back(name, x, turn) for name, x in there.items()}
            if not all(torch.equal(back[name], x) for name, x in sample.items()):
                raise Broken(f'turned by {turn} and back')
            self._applied(there)
        backwards = reversed_in_time(sample, 1)
        if not all(torch.equal(reversed_in_time(backwards, 1)[name], x) for name, x in sample.items()):
            raise Broken('reversed twice')
        self._applied(backwards)

    def half_precision(self) -> None:
        """bf16 is close to float32"""
        sample = sample_for(self.said, length_of(self.said), (32, 32))
        exact, half = (self._applied(sample, amp)['out'].double() for amp in (None, torch.bfloat16))
        if not torch.isfinite(half).all():
            raise Broken('NaN or Inf in bf16')
        noise = (exact - half).square().mean().clamp_min(1e-30)
        distance = float(10 * torch.log10(exact.square().mean() / noise))
        if distance < CLOSE:
            raise Broken(f'{distance:.1f} dB, {CLOSE} are expected')

    def told_by_weights(self) -> None:
        """the class recognises its weights and builds the same network of them"""
        if not hasattr(type(self.net), 'from_weights'):
            return
        weights, name = self.net.state_dict(), self.options['type']
        if name in NETWORKS.table:
            found = infer_options(weights)
        else:  # only registered classes are asked whose weights a file holds
            told = type(self.net).from_weights(weights)  # type: ignore[attr-defined]
            if told is None:
                raise Broken('it does not')
            found = {'type': name, **told}
        if NETWORKS.get(found['type']) is not type(self.net):
            raise Broken(f'they are taken for {found["type"]}')
        again = build_network(found)
        missing = again.load_state_dict(weights, strict=False)
        if missing.missing_keys or missing.unexpected_keys:
            raise Broken(f'other keys: {", ".join([*missing.missing_keys, *missing.unexpected_keys][:4])}')

    def alone(self) -> None:
        """it is built and has parameters, and is no network of videos by itself"""
        if not any(True for _ in self.net.state_dict()) and not any(True for _ in self.net.buffers()):
            signature = inspect.signature(type(self.net).forward)
            if not signature.parameters:
                raise Broken('it has neither weights nor inputs')

    @torch.no_grad()
    def _applied(self, sample: dict[str, Tensor], amp: torch.dtype | None = None) -> dict[str, Tensor]:
        return apply(self.net.eval(), sample, amp=amp)

    def _views(self, sample: dict[str, Tensor], piece: int | None = None) -> list[View]:
        count = sample['lq'].shape[1]
        peaks = [i % 3 == 0 for i in range(count)]
        return list(Views(self.said, piece=piece, peak=peaks.__getitem__).of(range(count)))

    def _streamed(self, sample: dict[str, Tensor], piece: int | None = None, tile: int | None = None) -> Tensor:
        piece = piece if isinstance(self.said.sees, Clip) else None
        stream = Stream(self.net.eval(), torch.device('cpu'), limits=Limits(tile, overlap=8))
        frames = {i: {k: v[:, i] for k, v in sample.items()} for i in range(sample['lq'].shape[1])}
        return torch.cat([stream.restore([view], frames) for view in self._views(sample, piece)])

    def all(self) -> list[tuple[str, Callable[[], None]]]:
        """Name and check, of what can be looked at without training."""
        checks = [self.gradients, self.sizes, self.stream, self.pieces, self.half_precision, self.told_by_weights]
        if self.whole and isinstance(self.said.sees, Causal):
            checks.append(self.steps)
        if self.whole and self.said.inputs:
            checks.append(self.side_information)
        return [(str(check.__doc__), check) for check in (checks if self.whole else [self.alone])]


def run_check(name: str, check: Callable[[], None]) -> Finding:
    """Any error of a network that is checked is a finding about it."""
    started = time.monotonic()
    try:
        check()
        problem = None
    except (UserError, Broken) as error:
        problem = str(error)
    except Exception as error:
        where = error.__traceback__
        while where and where.tb_next:
            where = where.tb_next
        place = f' ({Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno})' if where else ''
        problem = f'{type(error).__name__}: {error}{place}'
    return Finding(name, problem, time.monotonic() - started)


def check_network(
    name: str, more: dict[str, Any] | None = None, ranks: int = 2, say: Callable[[Finding], None] = lambda finding: None
) -> list[Finding]:
    """All checks of a network, in order; training is left out where the network itself is at fault.

    Args:
        ranks: processes of the distributed trial, 1 for none.
        say: told of each finding as it comes.
    """
    found: list[Finding] = []

    def note(finding: Finding) -> None:
        found.append(finding)
        say(finding)

    holder: list[Checks] = []
    note(run_check('it is built from `small`', lambda: holder.append(Checks(name, more))))
    if not holder:
        return found
    for text, check in holder[0].all():
        note(run_check(text, check))
    if holder[0].whole and not any(finding.problem for finding in found):
        with tempfile.TemporaryDirectory(prefix='votes_check_') as folder:
            trial = trial_run.Trial(Path(folder), holder[0].options, holder[0].said)
            for text, check in trial.checks(ranks):
                note(run_check(text, check))
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('network', metavar='NAME|module:Class', help='a registered name, or a class of your own')
    add_overrides(parser, 'arguments of its constructor', dest='arguments')
    parser.add_argument('--ranks', type=int, default=2, help='processes of the distributed trial; 1 leaves it out')


def run(args: argparse.Namespace) -> int:
    import yaml

    more = {}
    for word in args.arguments:
        key, found, value = word.partition('=')
        if not found:
            raise UserError('KEY=VALUE is needed', value=word)
        more[key] = yaml.safe_load(value)
    found = check_network(args.network, more, args.ranks, lambda finding: print(finding, flush=True))
    failed = sum(finding.problem is not None for finding in found)
    print(f'{args.network}: {len(found) - failed} kept, {failed} broken')
    return 1 if failed else 0
