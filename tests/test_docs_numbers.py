"""Every number in the sentences of README and docs/: measured, a constant of the code, or of a source named.

Tables are held by test_docs.py (made of results) and pages that are made as a whole by the tests of what makes them.
Numbers in backticks are examples; a default that stands so is in SAID with its backticks.
"""

import json
import re
import tomllib

import pytest
import yaml
from docs_commands import PAGES, ROOT

from votes.commands.finetune import NOTHING_GAINED
from votes.commands.verbs import parsers
from votes.data.tools import check_content, open_clips
from votes.data.tools.demo import SCENES
from votes.export.graphs import CLIP, CLOSE, SIDES
from votes.export.onnx import LEAST_OPSET, OPSET
from votes.inference.stream import SAME
from votes.platforms import pairing
from votes.processes.signals import PREEMPTED
from votes.reports.pictures import INSIDE
from votes.reports.sheet import ERROR_GAIN
from votes.studies.claims import DRAWS, LEVEL, SEEDS
from votes.studies.reproduce import SOME_OPEN
from votes.training.contents import CLIPS
from votes.video.draws import DEVIATIONS
from votes.weights import cards

GENERATED = ('options.md', 'commands.md', 'zoo.md', 'open-clips.md')
NAMED = ('two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten', 'eleven', 'twelve', 'thirteen')
WORDS = {name: number for number, name in enumerate((*NAMED, 'fourteen', 'fifteen', 'sixteen', 'seventeen'), 2)}
NUMBER = re.compile(rf'(?<![\w.])\d[\d.,x:×]*\w*|\b(?:{"|".join(WORDS)})\b', re.I)
# What has digits and states no number: addresses, names (H.264, BT.601, x2, stage 1, QP 28 and 33), shapes and ranges.
NAMES = re.compile(
    r'\]\([^)]*\)|https?:\S+|127\.0\.0\.1|(?<!\w)[A-Za-z]+[-.]?\d[\w.+]*|\([^()]*\b[hHwW]\b[^()]*\)|\[0, 1\]|4:2:0|'
    r'(?:QP|CRF|clip|stage|Table|Figure|NTIRE|ACM MM|arXiv|epoch)(?:(?:,| and| to)? \d[\d.]*)+',
    re.I,
)


def result(name):
    return json.loads((ROOT / 'benchmarks' / 'results' / f'{name}.json').read_text())


def options(file):
    return yaml.safe_load((ROOT / 'options' / file).read_text())


def steps(file):
    return options(f'train/{file}')['train']['total_iter']


def features(file):
    return options(f'train/VOTES/{file}')['network_g']['num_feat']


def default(verb, option):
    return parsers()[verb].get_default(option)


def right(what):
    return tuple(map(int, platforms['right'][what].split(' of ')))


def exact(cropped):
    """Percent of the matched frames of pairs with or without a crop."""
    rows = [row for row in result('pairing')['rows'] if row.get('frames_right')]
    told = [row['frames_right'].split(' of ') for row in rows if bool(row['platform']['crop']) is cropped]
    return 100 * sum(int(right) for right, _ in told) / sum(int(all_of) for _, all_of in told)


demo, pairs, platforms, study, times = map(result, ('demo', 'pairing', 'calibrate', 'study_dfm', 'train_step_cpu'))
seconds = {name: found['seconds'] for name, found in result('export_cpu')['results'].items()}
first = result('first_video')
products = times['machine']['matrix product TFLOP/s']
maps = [run['options']['train.total_iter'] for name, run in study['runs'].items() if re.fullmatch(r'dsm_\d+', name)]
adapted = result('study_calibrated')['runs']
presets = [  # (confidence, whether it was right)
    (confidence, platform['right']['preset'])
    for platform in platforms['platforms'].values()
    for name, confidence in platform['recipe']['confidence'].items()
    if name.endswith('.preset') and platform['right']['preset'] is not None
]
steady = options('train/Open/train_DISVSR_x2_steady_open.yml')['train']
versions = [yaml.safe_load(path.read_text()) for path in (ROOT / 'options' / 'degrade' / 'open_x2').glob('*.yml')]
shipped, training = result('weights_cpu')['weights']['x2'], result('weights_x2_training')
lost = result('weights_x1_first_strength')['psnr']['gopro_max']['18']


def gained(row):
    rows = result('weights_x1_cpu')['weights']['x1']['mean']['test']['33']
    return rows['restored']['psnr'] - rows[row]['psnr']


# page -> what it says -> the number, or numbers, that it has to be; in words, where no file can tell
SAID = {
    'README.md': {
        'Python 3.11': float(tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['requires-python'][2:]),
        'C = 64': features('train_VOTES_x2_UVSSMWeChat.yml'),
        'C = 128': features('train_VOTES_L_x2_SR_UVSSMWeChat.yml'),
        '8 times': ERROR_GAIN,
        'twelve clips': len(SCENES),
        '2 pixels': demo['protocol']['metrics']['psnr']['crop_border'],
        '2 cores': demo['machine']['cores'],
        '450 steps': steps('VOTES/train_VOTES_demo.yml'),
        '400 steps': steps('BIN/train_BIN_demo.yml'),
    },
    'tutorial.ipynb': {'twelve photographs': len(SCENES), 'five frames': 'votes/archs/votes_arch.py'},
    'CONTRIBUTING.md': {'two steps': 'tests/test_option_files_run.py', 'From 1.0 on': 'a rule'},
    'data.md': {
        '60 clips': pairs['clips'],
        '256x144': (256, 144) if pairs['size'] == '256x144' else (),
        '24 frames': (pairs['frames_of_a_clip'], check_content.SAMPLED),
        'right in 44 of 52': (pairs['colours_right'], pairs['right']),
        '52 of 52': (pairs['right'], pairs['downloads'] - pairs['rightly_unpaired']),
        '92 %': exact(cropped=False),
        '87 %': exact(cropped=True),
        '3000 frames': pairing.MOST,
        '1920x1080': 'benchmarks/data.py',
        '2 cores': result('data_cpu')['machine']['cores'],
    },
    'degradation.md': {
        '1.5 pixels': (4 - 1) / 2,
        '1 pixels': 'the S - 1 of mirrored positions',
        '10 of 10': min(map(right, set(platforms['right']) - {'bframes', 'kernel', 'preset'})),
        '8 of 8': right('bframes'),
        '9 of 10': right('kernel'),
        '4 of 8': right('preset'),
        'up to 0.18': max(confidence for confidence, was_right in presets if not was_right),
        '0.11 and more': min(confidence for confidence, was_right in presets if was_right),
        'two threads': 'votes/video/degrade.py',
        'three deviations': DEVIATIONS,
        '300 steps': adapted['tuned_calibrated_0']['options']['train.total_iter'],
        '600 steps': adapted['start_0']['options']['train.total_iter'],
    },
    'export.md': {
        '1e-4': CLOSE,
        'two sizes': len(SIDES),
        'three sizes': 'tests/export/test_graphs.py, one more',
        'Two steps': 'tests/export/test_graphs.py',
        'Opset 20': (OPSET, default('export', 'opset'))[0],
        '`--opset 19`': LEAST_OPSET,
        'frames (7)': CLIP,
        '80x64': tuple(reversed(result('export_cpu')['results']['EDSR']['size'])),
        '92 in PyTorch': 1000 * seconds['EDSR']['torch'],
        '64 in onnxruntime': 1000 * seconds['EDSR']['operator'],
        '24 in PyTorch': 1000 * seconds['STDF']['torch'],
        '16 in onnxruntime': 1000 * seconds['STDF']['operator'],
    },
    'migrate.md': {'ten steps': 'tests/differential/record.py, ten_steps'},
    'reliability.md': {
        '32 clips': CLIPS,
        'exit code 75': PREEMPTED,
        '75 stopped on request': PREEMPTED,
        '0 done, 2 bad input': 'tests/test_cli.py',
    },
    'restore.md': {
        '50 dB': SAME,
        '`--segment 32`': default('app', 'segment'),
        '`--upload-limit 8`': default('app', 'upload_limit'),
        'exit code 75': PREEMPTED,
        'C = 128': result('restore_cpu')['machine']['num_feat'],
        'of 96x160': tuple(result('restore_cpu')['machine']['size']),
        '640x428': tuple(reversed(first['steps']['votes restore']['size'])),
        'is 8 bits': 'what the encoder takes, as it is built into PyAV',
        'at most 10': 'what the encoders take, as they are built into PyAV',
        '720 lines or 1280 columns': 'tests/video/test_video.py',
        'For 8 bits': 'what swscale does',
        '2 cores': result('restore_cpu')['machine']['cores'],
        'two cores': first['machine']['cores'],
        '30 frames': first['steps']['votes restore']['frames'],
        '136 seconds': sum(step['clock_seconds'] for step in first['steps'].values()),
        '100 seconds': first['steps']['bash scripts/setup.sh']['clock_seconds'],
    },
    'speed.md': {
        '2 cores': times['machine']['cores'],
        'two cores': result('scaling_cpu')['machine']['cores'],
        'seven times': products['bf16'] / products['float32'],
        '100 ms': 100,  # of the rows that benchmarks/tables.py takes
    },
    'dfm.md': {
        'after 25 steps, after 400 steps': (min(maps), max(maps)),
        'after 25 and after 400 steps': (min(maps), max(maps)),
    },
    'studies.md': {
        'exit code 3': NOTHING_GAINED,
        '0 every claim is reproduced, or better; 1 one is not, or a job failed; 3 some are open': (0, 1, SOME_OPEN),
        'three seeds': SEEDS,
        '40 clips': 'section 4.5 of the paper',
        '95 %': 100 * LEVEL,
        '10,000 draws': DRAWS,
        '8 MB': INSIDE / 1e6,
    },
    'weights.md': {
        '450 of 2 samples': (steady['total_iter'], training['options']['datasets']['train']['batch_size_per_gpu']),
        '450 steps': steady['total_iter'],
        '2.5 times': steady['losses']['l_warp']['loss_weight'],
        '0.25 dB': 'tests/commands/test_weights.py holds it',
        '0.60 dB': 'tests/commands/test_weights.py holds it',
        '1.04 dB': 'tests/commands/test_weights.py holds it',
        '4 frames': (
            next(iter(result('weights_x2_steady')['weights'].values()))['frames'],
            result('weights_x1_whole')['weights']['x1, whole']['frames'],
        ),
        '8 frames': result('weights_x1_cpu')['weights']['x1']['frames'],
        '6,500 of 2 samples': (
            steps('Open/train_DISVSR_x1_open.yml'),
            training['options']['datasets']['train']['batch_size_per_gpu'],
        ),
        'eleven versions': len(list((ROOT / 'options' / 'degrade' / 'open_x1').glob('*.yml'))),
        '0.1 at 18': tuple(reversed(result('weights_x1_first_strength')['strength'][1])),
        'begins at 19': cards()['x1'].strength[0][0],
        'at QP 33 0.17 of 0.57 dB': (33, round(gained('input') - gained('exact'), 2), round(gained('input'), 2)),
        'quantiser of 20.5': 'of the clip that was looked at',
        'at most 1 there': 'votes/restore/suited.py',
        '0.04 dB': round(lost['exact'] - lost['restored'], 2),
        '9,000 of 2 samples': 'the best step of benchmarks/results/weights_x2_first_training.json',
        'after the 9,000 of': 'the same step',
        'a run of 10,600': steps('Open/train_DISVSR_x2_open.yml'),
        '0.88, with 0.12': '--share of benchmarks/ship_weights.py',
        '(0.998': options('train/Open/train_DISVSR_x2_open.yml')['train']['ema_decay'],
        '0.99 then': steady['ema_decay'],
        'and 0.06 at': 'tests/commands/test_weights.py holds it',
        '0.38 at QP 28 and 0.22 at QP 33': 'tests/commands/test_weights.py holds it',
        'thirteen videos': sum(clip.split == 'train' for clip in open_clips.open_clips()),
        'Thirteen training clips': sum(clip.split == 'train' for clip in open_clips.open_clips()),
        'seventeen versions': len(versions),
        'one to three generations': max(len(recipe['generations']) for recipe in versions),
        'a = -0.5': 'votes/video/resize.py',
        '204x360': 'of the clip that was looked at',
        '0.5 Mbit/s': 'of the clip that was looked at',
        'five clips': 'those that were looked at',
        '96 frames': open_clips.FRAMES,
        'three clips': len(shipped['clips']['test']) - 1,
        '16 frames': shipped['frames'],
    },
}


def sentences(page):
    """A page without blocks of code, tables that are made of results, and what follows four blanks."""
    text = page.read_text()
    if page.suffix == '.ipynb':
        cells = json.loads(text)['cells']
        text = '\n'.join(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'markdown')
    made = r'|^\|.*?$|^- (?:file|network|seed|made with|strength):.*?$' if page.name == 'weights.md' else ''
    text = re.sub(rf'^```.*?^```|<!-- table.*?<!-- end -->|^ {{4}}.*?${made}', '', text, flags=re.M | re.S)
    return re.sub(r'\s+', ' ', text)


def numbers(phrase):
    found = re.findall(rf'\de-\d+|(?<![\w.])\d[\d.,]*|(?<=\dx)\d+|\b(?:{"|".join(WORDS)})\b', phrase, re.I)
    return [str(WORDS.get(number.lower(), number.strip('.,').replace(',', ''))) for number in found]


@pytest.mark.parametrize(
    'page',
    [*(p for p in PAGES if p.name not in GENERATED), ROOT / 'docs' / 'tutorial.ipynb'],
    ids=lambda p: f'{p.parent.name}-{p.name}',
)
def test_a_number_in_a_sentence_comes_from_somewhere(page):
    left = sentences(page)
    for phrase, expected in SAID.get(page.name, {}).items() if page.parent.name != 'experiments' else ():
        left, count = re.subn(rf'(?<![\w.]){re.escape(phrase)}(?!\w)', '', left)
        assert count, f'the page does not say {phrase!r} any more: take it out of SAID'
        if not isinstance(expected, str):
            given, wanted = numbers(phrase), expected if isinstance(expected, tuple) else (expected,)
            given *= len(wanted) if len(given) == 1 else 1  # one number that stands in several places
            for number, true in zip(given, wanted, strict=True):
                places = len(number.partition('.')[2])
                assert abs(float(number) - true) <= 0.5001 * 10.0**-places * (true >= 1), f'{phrase}: {true}'
    left = NAMES.sub('', re.sub('`[^`]*`', '', left))
    found = [left[max(0, match.start() - 40) : match.end() + 20] for match in NUMBER.finditer(left)]
    assert not found, 'leave it out, or give it a line in SAID: where it is measured, a constant, or whose it is'
