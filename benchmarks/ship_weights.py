"""The weights of a finished run into the package, and what was measured of them onto their cards.

    python benchmarks/ship_weights.py x1 experiments/DISVSR_x1_open       # takes models/net_g_best.pth, or _latest
    python benchmarks/ship_weights.py x2 experiments/DISVSR_x2_steady_open --share 0.88 \\
        --from experiments/DISVSR_x2_open
    python benchmarks/weights.py -o benchmarks/results/weights_cpu.json   # measures what is in the package
    python benchmarks/ship_weights.py --measured                          # writes the cards' tables
    votes weights --write docs/weights.md

What a card says in words (what it was trained on, where it fails, what was seen) is written by hand in cards.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

from votes import checkpoint
from votes.errors import UserError
from votes.weights import FOLDER, LARGEST

ROOT = Path(__file__).resolve().parents[1]
RESULTS = [ROOT / 'benchmarks' / 'results' / f'{name}.json' for name in ('weights_cpu', 'weights_x1_cpu')]
TITLES = {'ssim': 'SSIM', 'flicker': 'flicker', 'warping': 'warping'}
PARTS = {'test': 'clips of other sources', 'val': 'clips that the training was watched on'}


def weights_of(run: Path) -> dict[str, Any]:
    best = run / 'models' / 'net_g_best.pth'
    return checkpoint.load(best if best.is_file() else run / 'models' / 'net_g_latest.pth')


def take(name: str, run: Path, before: Path | None, share: float) -> None:
    """Writes votes/weights/NAME.pth: the moving average at the best step on the validation clips, or the last one; what
    is known of the run onto the card; its log into benchmarks/results.

    Args:
        before: the run that it started from. Weights are then `share` of the way from that one's, in a straight line
            (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
    """
    trained = weights_of(run)
    content = {'params': trained.get('params_ema') or trained['params'], 'network_g': trained['network_g']}
    if before:
        start = weights_of(before)
        start = start.get('params_ema') or start['params']
        content['params'] = {key: (1 - share) * start[key] + share * x for key, x in content['params'].items()}
    if 'grid' in trained:
        content['grid'] = trained['grid']
    written = checkpoint.save(content, FOLDER / f'{name}.pth')
    if written['bytes'] > LARGEST:
        raise UserError('too large to ship', value=f'{written["bytes"]:,} bytes', fix=f'at most {LARGEST:,}')
    newest = max((run / 'training_states').glob('*.state'), key=lambda path: int(path.stem))
    state = checkpoint.load(newest)
    options = state['setup']['options']
    cards = _cards()
    card = cards.setdefault(name, {})
    card |= {'file': f'{name}.pth', **written, 'scale': options['scale'], 'network': content['network_g']}
    card['parameters'] = sum(value.numel() for value in content['params'].values())
    train = options['train']
    card['training'] = {  # 'schedule' and other words of the maker's own stay
        **card.get('training', {}),
        'option file': f'`options/train/Open/train_{options["name"]}.yml`',
        'steps': f'{state["iter"]:,} of {state["setup"]["samples_a_step"]} samples',
        'seed': str(options['manual_seed']),
        'precision': f'{train["amp"]}, moving average of the weights ({train["ema_decay"]})',
        'made with': state['environment'],
    }
    if step := state['position']['best_iter']:
        card['training']['steps'] += f', of which step {step:,} was the best on the validation clips'
    if before:
        card['training']['steps'] += f', and of these weights {share} with {1 - share:.2f} of those it started from'
    _write(cards)
    lines = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
    log = {'what': f'metrics.jsonl of the run that the weights {name} come from', 'options': options, 'lines': lines}
    checkpoint.write_json(ROOT / 'benchmarks' / 'results' / f'weights_{name}_training.json', log)


def take_measured() -> None:
    """The tables of the cards, from the committed results."""
    cards = _cards()
    for file in RESULTS:
        results = json.loads(file.read_text())
        for name, about in results['weights'].items():
            if about['sha256'] != cards[name]['sha256']:
                raise UserError('these weights are not those that were measured', where=file, value=name)
            cards[name]['measured'] = tables(about, results)
    _write(cards)


def tables(about: dict[str, Any], results: dict[str, Any]) -> dict[str, list[list[str]]]:
    """Title -> rows, the first of which is the head."""
    found = {}
    for part, clips in about['clips'].items():
        first = next(iter(next(iter(clips.values())).values()))
        bases = [row for row in first if row != 'restored']
        head = ['clip', 'QP', *(f'{row} dB' for row in bases), 'restored dB', *(f'gain over {row}' for row in bases)]
        measures = [name for name in ('ssim', 'flicker', 'warping') if name in first[bases[0]]]
        head += [cell for name in measures for cell in (f'{TITLES[name]} {bases[0]}', TITLES[name])] + [
            'of the original'
        ]
        steady = about['warping_of_originals'][part]
        body = [
            [*_row(clip, qp, rows, bases, measures), f'{steady[clip]:.2f}']
            for clip, by_qp in clips.items()
            for qp, rows in by_qp.items()
        ]
        average = f'{fmean(steady.values()):.2f}'
        means = [[*_row('**mean**', qp, rows, bases, measures), average] for qp, rows in about['mean'][part].items()]
        found[f'PSNR of Y, {PARTS.get(part, part)} ({part}, {about["frames"]} frames each)'] = [head, *means, *body]
    if speed := about.get('speed'):
        size = f'{speed["from"][0]}x{speed["from"][1]} to {speed["to"][0]}x{speed["to"][1]}'
        head = ['frames', 'frames a second', 'seconds of a core a frame', 'peak memory GiB', 'threads', 'machine']
        row = [size, f'{speed["frames_per_second"]:.2f}', f'{speed["cpu_seconds_a_frame"]:.2f}']
        row += [f'{speed["peak_GiB"]:.2f}', str(speed['threads'])]
        note = results['machine'].get('note', '')
        where = f'{results["machine"]["cores"]} cores of an {results["machine"]["cpu"]}' + (f', {note}' if note else '')
        found['Speed of `votes restore` in float32'] = [head, [*row, where]]
    return found


def _row(clip: str, qp: str, rows: dict[str, dict[str, float]], bases: list[str], measures: list[str]) -> list[str]:
    base, made = rows[bases[0]], rows['restored']
    return [
        clip,
        qp,
        *(f'{rows[name]["psnr"]:.2f}' for name in bases),
        f'{made["psnr"]:.2f}',
        *(f'{made["psnr"] - rows[name]["psnr"]:+.2f}' for name in bases),
        *(f'{row[name]:.{4 if name == "ssim" else 2}f}' for name in measures for row in (base, made)),
    ]


def _cards() -> dict[str, Any]:
    path = FOLDER / 'cards.json'
    return json.loads(path.read_text()) if path.is_file() else {}


def _write(cards: dict[str, Any]) -> None:
    with checkpoint.atomic_write(FOLDER / 'cards.json') as temporary:
        temporary.write_text(json.dumps(cards, indent=1) + '\n')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', nargs='?')
    parser.add_argument('run', nargs='?', type=Path)
    parser.add_argument('--from', dest='before', type=Path, metavar='RUN', help='the run that this one started from')
    parser.add_argument('--share', type=float, default=1.0, help='of the way from there')
    parser.add_argument('--measured', action='store_true')
    args = parser.parse_args()
    if args.name and args.run:
        take(args.name, args.run, args.before, args.share)
    if args.measured:
        take_measured()


if __name__ == '__main__':
    main()
