"""The tables of the README and of docs/, made from the results in benchmarks/results/.

python benchmarks/tables.py                                        writes them where they stand
python benchmarks/tables.py --demo .                               first takes over the results of scripts/demo.sh
python benchmarks/tables.py --study studies/table3_quick           first takes over a study
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine

from votes.checkpoint import atomic_write

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'benchmarks' / 'results'
DEMO = {'VOTES_demo': 'small VOTES, 450 steps', 'VOTES_demo_nodfm': 'the same with `dfm: false`'}


def take_demo(folder: Path) -> None:
    """Keeps the means of the demo's two evaluations."""
    runs = {name: json.loads((folder / 'results' / name / 'results.json').read_text()) for name in DEMO}
    content = {
        'what': 'scripts/demo.sh: evaluation on clips that were not trained on',
        'machine': {**machine.describe(), 'command': 'bash scripts/demo.sh'},
        'protocol': next(iter(runs.values()))['protocol'],
        'runs': {
            name: {'mean': (result := next(iter(run['results'].values())))['mean'], 'frames': len(result['frames'])}
            for name, run in runs.items()
        },
    }
    machine.write(RESULTS / 'demo.json', content)


def take_study(folder: Path) -> None:
    """Keeps the studies of a folder: their rows, and of each run its options, how it trained and what was measured of
    each clip.
    """
    for path in sorted(folder.glob('*.json')):
        if 'rows' in (study := json.loads(path.read_text())):
            _take(folder, path.stem, study)


def _take(folder: Path, name: str, study: dict[str, Any]) -> None:
    kept = {key: study[key] for key in ('study', 'title', 'notes', 'command', 'resolution', 'tolerance')}
    rows = [{**row, 'label': row['row']['label']} for row in study['rows']]
    seconds = sum(job['seconds'] for job in study['jobs'].values())
    about = {**machine.describe(), 'command': study['command'], 'commit': study['environment']['commit']}
    runs = {name: _run(folder, name, job) for name, job in study['jobs'].items() if job['state'] != 'not run'}
    content = {**kept, 'machine': about, 'seconds': seconds, 'rows': rows, 'runs': runs}
    machine.write(RESULTS / f'study_{name}.json', content)


def _run(folder: Path, name: str, job: dict[str, Any]) -> dict[str, Any]:
    """A job of a study: what it was made from, the lines of its training, the clips of its evaluation."""
    record = json.loads((folder / 'jobs' / f'{name}.json').read_text()).get('record') or {}
    options = {key: value for key, value in record.get('options', {}).items() if value is not None}
    found = {'state': job['state'], 'seconds': job['seconds'], 'made_from': list(record.get('made_from', {}))}
    found |= {'options': {key: _plain(value, folder) for key, value in options.items()}}
    lines = folder / 'experiments' / name / 'metrics.jsonl'
    if lines.is_file():
        keys = ('iter', 'kind', 'loss', 'gain_db', 'lr', 'restored_psnr', 'cpu_seconds')
        rows = [json.loads(line) for line in lines.read_text().splitlines()]
        found['training'] = [{key: row[key] for key in keys if key in row} for row in rows]
    results = folder / 'results' / name / 'results.json'
    if results.is_file():
        result = next(iter(json.loads(results.read_text())['results'].values()))
        found['clips'], found['frames'] = result['clips'], len(result['frames'])
    costs = folder / 'results' / name / 'video_costs.json'
    return found | ({'costs': json.loads(costs.read_text())['clips']} if costs.is_file() else {})


def _plain(value: Any, folder: Path) -> Any:
    """Without the places of this machine."""
    if not isinstance(value, str):
        return value
    for place, name in ((folder.resolve(), '{out}'), (folder, '{out}'), (ROOT, '.')):
        value = value.replace(str(place), name)
    return Path(value).name if value.startswith('/') else value


def _read(name: str) -> Any:
    return json.loads((RESULTS / f'{name}.json').read_text())


def _table(lines: list[list[str]]) -> str:
    rows = ['| ' + ' | '.join(line) + ' |' for line in lines]
    return '\n'.join([rows[0], '|' + '---|' * len(lines[0]), *rows[1:]])


def demo() -> str:
    """PSNR and SSIM of the demo."""
    content = _read('demo')
    runs = content['runs']
    first = next(iter(runs.values()))
    lines = [[f'demo, test clips ({first["frames"]} frames), x2, H.264 QP 28', 'PSNR dB', 'SSIM']]
    for label, means in [
        *((f'LQ, {name}', first['mean'][name]) for name in ('bilinear', 'bicubic')),
        *((DEMO[name], run['mean']['restored']) for name, run in runs.items()),
    ]:
        lines.append([label, f'{means["psnr"]:.2f}', f'{means["ssim"]:.4f}'])
    return _table(lines)


def data() -> str:
    """Samples a second by frame source."""
    sources = _read('data_cpu')['sources']
    lines = [['frames stored as', 'samples/s on one core', 'cold', 'bytes of a pair of frames']]
    for name, about in sources.items():
        rate, cold = (about.get(key) for key in ('samples_per_second', 'cold_samples_per_second'))
        size = about.get('bytes_per_frame_pair')
        lines.append(
            [name, f'{rate:.0f}', '-' if cold is None else f'{cold:.0f}', '-' if size is None else f'{size:,}']
        )
    return _table(lines)


def claim_cells(row: dict[str, Any], metric: str = 'psnr') -> list[str]:
    """The gain of a row with its interval, seeds x clips, and the verdict."""
    found = row['interval'].get(metric)
    if found is None:
        return ['-', '-', row['verdict']]
    low, high = (f'{found[end]:+.3f}' for end in ('low', 'high'))
    return [f'{found["value"]:+.3f} [{low}, {high}]', f'{found["seeds"]} x {found["clips"]}', row['verdict']]


def found_cells(row: dict[str, Any]) -> list[str]:
    """The first metric of a row: its gain with its interval, or its mean and spread over seeds."""
    metric, value = next(iter(row['ours'].items()), (None, None))
    if metric is None or metric in row['interval']:
        cells = claim_cells(row, metric or '')
    else:
        spread = f' ± {row["spread"][metric]:.3f}' if metric in row['spread'] else ''
        cells = [f'{value:.3f}{spread}', f'{len(row["row"]["results"])} seeds', row['verdict']]
    unit = {None: '', 'psnr': ' dB'}.get(metric, f' {metric}')
    return [cells[0] + unit, *cells[1:]]


def studies() -> str:
    """The studies that were run and claim something; docs/zoo.md has that of networks."""
    lines = [['study', 'what', 'found', 'seeds x clips', 'verdict']]
    for path in sorted(RESULTS.glob('study_*.json')):
        study = json.loads(path.read_text())
        if study['study'] != 'zoo' and any(row['row'].get('minus') for row in study['rows']):
            done = [row for row in study['rows'] if row['verdict'] != 'NOT RUN']
            lines += [[study['study'], row['label'], *found_cells(row)] for row in done]
    return _table(lines)


def table2() -> str:
    """The methods of Table 2 in small, and at the quantisers of Figure 8 those that were measured there."""
    quality = {row['label']: row['ours'].get('psnr') for row in _read('study_figure8_quick')['rows']}
    qps = sorted({label.partition(', ')[2] for label in quality})
    lines = [['method', *(f'PSNR dB, {qp}' for qp in qps), 'SSIM, QP 28', 'million parameters', 'seconds of training']]
    for row in _read('study_table2_quick')['rows']:
        values, cost = [quality[f'{row["label"]}, {qp}'] for qp in qps], row['cost']
        each = ['-' if value is None else f'{value:.2f}' for value in values]
        counted = [f'{cost["parameters"] / 1e6:.2f}', f'{cost["train_s"]:.0f}']
        lines.append([row['label'], *each, f'{row["ours"]["ssim"]:.4f}', *counted])
    told = [row for row in _read('study_figure8_quick')['rows'] if row['baseline']]
    bicubic = {row['row']['x']: row['baseline']['bicubic'] for row in told}
    each = [f'{bicubic[qp]:.2f}' for qp in sorted(bicubic)]
    return _table([*lines, ['bicubic interpolation', *each, '-', '0', '0']])


def _dfm_row(label: str) -> dict[str, Any]:
    return next(row for row in _read('study_dfm')['rows'] if row['label'] == label)


def _gain(label: str) -> str:
    gain, size, verdict = claim_cells(_dfm_row(label))
    return f'{gain} dB ({size} seeds x clips, {verdict})'


def dfm_setting() -> str:
    """How large the study was."""
    study = _read('study_dfm')
    runs = {name: run for name, run in study['runs'].items() if run['state'] == 'done'}
    trained = runs['zeros_0']['options']
    clips = len(runs['test_zeros_0']['clips']['restored']['psnr'])
    trainings = sum('training' in run and 'train.total_iter' in run['options'] for run in runs.values())
    batch, side = trained['datasets.train.batch_size_per_gpu'], trained['datasets.train.gt_size']
    frames = runs['test_zeros_0']['frames']
    videos = len({clip.split('/', 1)[-1] for clip in runs['test_zeros_0']['clips']['restored']['psnr']})
    return (
        f'{study["title"]}. {trained["train.total_iter"]} steps of {batch} crops of {side}x{side} pixels of GT; three '
        f'seeds, more of the rows that matter most; {frames} frames of {clips} test clips at a third of their size, '
        f'{videos} videos at both quantisers, whose mean counts; {trainings} trainings on one thread of a loaded '
        f'{study["machine"]["cpu"]}. Against bicubic interpolation the network without a map is at '
        f'{_gain("zeros over bicubic")}: it restores, and is small. The start from nothing, the longer training (250 '
        'steps were too few to be above bicubic) and more than three seeds were decided when results on these clips '
        'had been seen.'
    )


def dfm() -> str:
    """The study of maps."""
    lines = [['claim', 'gain in PSNR, dB', 'with, dB', 'without, dB', 'seeds x clips', 'verdict']]
    for row in _read('study_dfm')['rows']:
        gain, size, verdict = claim_cells(row)
        sides = (row['sides'].get(side, {}).get('psnr') for side in ('with', 'without'))
        means = ['-' if value is None else f'{value:.3f}' for value in sides]
        lines.append([row['label'], gain, *means, size, verdict])
    return _table(lines)


def dfm_agreement() -> str:
    """How well maps agree with the true error."""
    found = _read('study_dfm')['agreement']
    names = {'dsm_25': 'DSM, 25 steps', 'dsm_100': 'DSM, 100 steps', 'dsm_400': 'DSM, 400 steps'}
    names |= {'shuffled': 'DSM, 400 steps, at the wrong time', 'neighbours': 'neighbouring frames'}
    lines = [['map', 'correlation with the true error over regions of 16 x 16 LQ pixels']]
    return _table(lines + [[label, f'{found[name]:.3f}'] for name, label in names.items()])


def dfm_answer() -> str:
    """What follows from the study, in one paragraph with its numbers."""
    found = _read('study_dfm')['agreement']
    widths = [row['interval']['psnr'] for row in _read('study_dfm')['rows'] if row['interval']]
    narrow = min(value['high'] - value['low'] for value in widths)
    return (
        'The map as the paper has it (of the DSM, divided by the largest value of each sample) is no gain but a loss '
        f'against zeros: {_gain("DSM (400 steps) over zeros")}; some seeds lose half a decibel, others almost nothing. '
        f'At the wrong time it gives {_gain("DSM at the wrong time over zeros")}. A perfect DSM would not have helped: '
        f'the true error in its place gives {_gain("true error over zeros")}. With a fixed scale, under which a map '
        'means the same in a crop of training and in a whole frame, the true error gives '
        f'{_gain("true error, fixed scale, over zeros")}, the DSM {_gain("DSM, fixed scale, over zeros")}. Much of the '
        'loss is how the modulation starts: from nothing (`modulation_init: zero`), the map of the DSM gives '
        f'{_gain("DSM, modulation from nothing, over zeros")}, the true error '
        f'{_gain("true error, modulation from nothing, over zeros")}. The map of the DSM agrees with the true error of '
        f'its frame ({found["dsm_400"]:.2f}), and at the wrong time with {found["shuffled"]:.2f}. So: nothing here '
        'shows that a map helps, not even one that no method can have; a network that takes one does well to start its '
        f'modulation from nothing. The narrowest interval is {narrow:.2f} dB wide.'
    )


WAYS = {
    'plain float32': 'published, float32',
    'window float32': '`forward` here, float32',
    'stream float32': '`votes restore`, float32',
    'window bf16': '`forward` here, bf16',
    'stream bf16': '`votes restore`, bf16',
    'stream float32 compiled': '`votes restore --compile`, float32',
    'stream bf16 compiled': '`votes restore --compile`, bf16',
}


def restore() -> str:
    """The streaming engine against plain windows."""
    results = _read('restore_cpu')['results']
    lines = [['each window by', 's a frame', 'times as fast', 'TFLOP', 'peak memory GiB', 'PSNR difference dB']]
    for name, label in WAYS.items():
        about = results[name]
        low, high = about['quartiles']
        spread = f'{about["times_as_fast"]:.2f} ({low:.2f} to {high:.2f})' if name != 'plain float32' else '1'
        work = about.get('tflop_per_frame')
        cells = [f'{about["seconds_per_frame"]:.2f}', spread, '' if work is None else f'{work:.3f}']
        lines.append([label, *cells, f'{about["peak_bytes"] / 2**30:.2f}', f'{about["psnr_difference"]:+.4f}'])
    return _table(lines)


def deform_conv() -> str:
    """The deformable convolution on the CPU by backend."""
    content = _read('deform_conv_cpu')
    lines = [['batch, channels, size', 'backend', 'forward', 'and backward', 'as fast as torchvision', 'MiB']]
    for shape, found in content['results'].items():
        batch, channels, height, width = shape.split('x')
        for way, about in found.items():
            forward, both = about['forward'], about['forward and backward']
            ratios = f'{forward["times_as_fast"]:.1f}, {both["times_as_fast"]:.1f} times'
            memory = ', '.join(f'{about["MiB"][what]:.0f}' for what in ('forward', 'forward and backward'))
            cells = [f'{batch}, {channels}, {height}x{width}', way.split()[0]]
            lines.append([*cells, f'{forward["milliseconds"]:.0f}', f'{both["milliseconds"]:.0f}', ratios, memory])
    return _table(lines)


def train_step() -> str:
    """Training steps by size and precision."""
    content = _read('train_step_cpu')
    lines = [['network, batch', 'step', 'milliseconds', 'as fast as plain', 'of a matrix product']]
    for size, about in content['results'].items():
        million = about['parameters'] / 1e6
        for name, way in about['ways'].items():
            cells = [f'{size} ({million:.1f} M), {about["lq"][0]}', name, f'{way["step"]["median"]:.0f}']
            lines.append([*cells, f'{way["times_as_fast"]:.2f} times', f'{100 * way["utilisation"]:.0f} %'])
    return _table(lines)


def scaling() -> str:
    """Processes: measured, and on paper."""
    content = _read('scaling_cpu')
    lines = [['processes', 'step', 'milliseconds', 'averaging alone', 'efficiency']]
    for count, about in content['measured'].items():
        if count.isdigit():
            step, alone = about['step_milliseconds'][1], about['all_reduce_milliseconds']
            cells = [count, 'measured, demo', f'{step:.0f}', f'{alone:.1f}', f'{100 * about["efficiency"]:.0f} %']
            lines.append(cells)
    for row in content['on paper']['L']['rows']:
        if row['processes'] == 64 and row['assumed_step_milliseconds'] == 100:
            low, high = (f'{100 * value:.1f}' for value in row['efficiency'])
            moved = f'{row["all_reduce_milliseconds"]:.1f}'
            lines.append(['64', f'on paper, L, {row["link"]}', '100', moved, f'{low} to {high} %'])
    return _table(lines)


def zoo() -> str:
    """Networks that are computed otherwise here than in public: how many times as fast, with quartiles."""
    lines = [
        ['network', 'training step, times as fast', 'MiB here, in public', 'a frame of a video', 'MiB here, in public']
    ]
    content = _read('zoo_cpu')
    beyond: dict[str, list[str]] = {'faster': [], 'slower': []}
    for name, found in content['results'].items():
        if 'times_as_fast' in found['step']:
            cells = [name]
            for kind, about in (('step', found['step']), ('video', found['stream'])):
                low, high = about['quartiles']
                memory = about['peak_MiB']
                cells += [f'{about["times_as_fast"]:.2f} [{low:.2f}, {high:.2f}]']
                cells += [f'{memory["here"]:.1f}, {memory["published"]:.1f}']
                if low > 1 or high < 1:
                    beyond['faster' if low > 1 else 'slower'].append(f"{name}'s {kind}")
            lines.append(cells)
    count = 2 * (len(lines) - 1)
    slower = ', '.join(beyond['slower']) or 'none'
    words = f'Beyond their quartiles {len(beyond["faster"])} of {count} are faster here; slower: {slower}.'
    layout = content['machine'].get('layout')
    return '\n\n'.join([_table(lines), words, *([f'Weights: {layout}.'] if layout else [])])


TABLES: dict[str, Callable[[], str]] = {
    'demo': demo,
    'data': data,
    'studies': studies,
    'table2': table2,
    'dfm': dfm,
    'dfm_setting': dfm_setting,
    'dfm_agreement': dfm_agreement,
    'dfm_answer': dfm_answer,
    'restore': restore,
    'deform_conv': deform_conv,
    'train_step': train_step,
    'scaling': scaling,
    'zoo': zoo,
}


def pages() -> list[Path]:
    """The README and the documentation, which hold each table once."""
    return [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]


def filled(texts: list[str]) -> list[str]:
    """The pages with every table between its marks made anew."""
    for name, make in TABLES.items():
        block = f'<!-- table {name}: benchmarks/tables.py -->\n{make()}\n<!-- end -->'
        pattern = rf'<!-- table {name}: benchmarks/tables.py -->.*?<!-- end -->'
        done = [re.subn(pattern, lambda _, block=block: block, text, flags=re.DOTALL) for text in texts]  # type: ignore[misc]
        texts = [text for text, _ in done]
        if sum(count for _, count in done) != 1:
            raise SystemExit(f'{sum(count for _, count in done)} places for the table {name}')
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--demo', type=Path, help='folder in which scripts/demo.sh ran')
    parser.add_argument('--study', type=Path, action='append', default=[], help='studies/NAME')
    args = parser.parse_args()
    if args.demo:
        take_demo(args.demo)
    for folder in args.study:
        take_study(folder)
    for path, text in zip(pages(), filled([path.read_text() for path in pages()]), strict=True):
        with atomic_write(path) as temporary:
            temporary.write_text(text)


if __name__ == '__main__':
    main()
