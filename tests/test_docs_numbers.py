"""Numbers with a unit in the sentences of README and docs/: measured, a constant of the code, or of a source named.

Tables are held by test_docs.py (made of results) and pages that are made as a whole by the tests of what makes them.
"""

import json
import re

import pytest
import yaml
from docs_commands import PAGES, ROOT

from votes import weights
from votes.data.tools import check_content, open_clips
from votes.data.tools.demo import SCENES
from votes.export.onnx import CLOSE
from votes.inference.stream import SAME
from votes.platforms import pairing
from votes.reports.pictures import INSIDE
from votes.reports.sheet import ERROR_GAIN
from votes.studies.claims import DRAWS, LEVEL
from votes.training.contents import CLIPS

GENERATED = ('options.md', 'commands.md', 'zoo.md', 'open-clips.md')
UNITS = (
    'dB|%|ms|seconds|minutes|hours|days|frames|clips|steps|samples|times|pixels|cores|draws|bytes|[KMG]i?B|[kM]bit/s|'
    'in PyTorch|in onnxruntime|frames a second'
)
NAMES = ('two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten', 'eleven', 'twelve')
WORDS = {name: number for number, name in enumerate(NAMES, 2)}
A_NUMBER = rf'(?:\d[\d.,]*\d|\d|\b(?:{"|".join(WORDS)}))'
# "1e-4", "60 clips", "49 of 54", "24 and 16 ms"
NUMBER = re.compile(
    rf'(?<![\w.,:+-])(?:\de-\d+|{A_NUMBER}(?: (?:of|and|to|in) {A_NUMBER})?(?: of)? ?(?:{UNITS})\b|\d+ of \d+|\d+ ?%)'
)


def result(name):
    return json.loads((ROOT / 'benchmarks' / 'results' / f'{name}.json').read_text())


def train_section(file):
    return yaml.safe_load((ROOT / 'options' / 'train' / file).read_text())['train']


def steps(file):
    return train_section(file)['total_iter']


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
steady = train_section('Open/train_DISVSR_x2_steady_open.yml')
x2, shipped, training = weights.cards()['x2'], result('weights_cpu')['weights']['x2'], result('weights_x2_training')
# page -> what it says -> the number, or numbers, that it has to be; in words, where no file can tell
SAID = {
    'README.md': {
        '8 times': ERROR_GAIN,
        'twelve clips': len(SCENES),
        '2 pixels': demo['protocol']['metrics']['psnr']['crop_border'],
        '2 cores': demo['machine']['cores'],
        '450 steps': steps('VOTES/train_VOTES_demo.yml'),
        '400 steps': steps('BIN/train_BIN_demo.yml'),
    },
    'CONTRIBUTING.md': {'two steps': 'a rule: what a name that goes is read for'},
    'data.md': {
        '60 clips': pairs['clips'],
        '24 frames': (pairs['frames_of_a_clip'], check_content.SAMPLED),
        '52 of 52': (pairs['right'], pairs['downloads'] - pairs['rightly_unpaired']),
        '92 %': exact(cropped=False),
        '87 %': exact(cropped=True),
        '3000 frames': pairing.MOST,
        '2 cores': result('data_cpu')['machine']['cores'],
    },
    'degradation.md': {
        '1.5 pixels': (4 - 1) / 2,
        '1 pixels': 'the S - 1 of mirrored positions',
        '48 frames': int(re.search(r'(\d+) frames', platforms['what'])[1]),
        '10 of 10': tuple(map(int, platforms['right']['frames'].split(' of '))),
        '300 steps': adapted['tuned_calibrated_0']['options']['train.total_iter'],
        '600 steps': adapted['start_0']['options']['train.total_iter'],
    },
    'export.md': {
        '1e-4': CLOSE,
        '92 in PyTorch': 1000 * seconds['EDSR']['torch'],
        '64 in onnxruntime': 1000 * seconds['EDSR']['operator'],
        '24 in PyTorch': 1000 * seconds['STDF']['torch'],
        '16 in onnxruntime': 1000 * seconds['STDF']['operator'],
    },
    'migrate.md': {'ten steps': 'tests/differential/record.py, ten_steps'},
    'reliability.md': {'32 clips': CLIPS},
    'restore.md': {
        '50 dB': SAME,
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
    'dfm.md': {'25 steps': min(maps), '400 steps': max(maps)},
    'studies.md': {
        '40 clips': 'section 4.5 of the paper',
        '95 %': 100 * LEVEL,
        '10,000 draws': DRAWS,
        '8 MB': INSIDE / 1e6,
    },
    'weights.md': {
        '2,960,997 bytes': x2.path.stat().st_size,
        '450 of 2 samples': (steady['total_iter'], training['options']['datasets']['train']['batch_size_per_gpu']),
        '450 steps': steady['total_iter'],
        '2.5 times': steady['losses']['l_warp']['loss_weight'],
        '0.25 dB': 'tests/commands/test_weights.py holds it',
        '0.60 dB': 'tests/commands/test_weights.py holds it',
        '1.04 dB': 'tests/commands/test_weights.py holds it',
        '4 frames': next(iter(result('weights_x2_steady')['weights'].values()))['frames'],
        '8 frames': result('weights_x1_cpu')['weights']['x1']['frames'],
        '9,000 of 2 samples': 'the best step of benchmarks/results/weights_x2_first_training.json',
        '0.5 Mbit/s': 'of the clip that was looked at',
        'five clips': 'those that were looked at',
        '96 frames': open_clips.FRAMES,
        'three clips': len(shipped['clips']['test']) - 1,
        '16 frames': shipped['frames'],
        '2 cores': result('weights_cpu')['machine']['cores'],
    },
}


def sentences(page):
    """A page without code, tables that are made of results, and what follows four blanks."""
    text = re.sub(r'^```.*?^```|<!-- table.*?<!-- end -->|^ {4}.*?$|`[^`\n]*`', '', page.read_text(), flags=re.M | re.S)
    return re.sub(r'\s+', ' ', text)


def numbers(text):
    found = re.findall(rf'{A_NUMBER}(?:e-\d+)?', text)
    return [float(WORDS.get(number, number.replace(',', ''))) for number in found]


@pytest.mark.parametrize(
    'page', [p for p in PAGES if p.name not in GENERATED], ids=lambda p: f'{p.parent.name}-{p.name}'
)
def test_a_number_in_a_sentence_comes_from_somewhere(page):
    said = SAID.get(page.name, {}) if page.parent.name != 'experiments' else {}
    found = {match[0] for match in NUMBER.finditer(sentences(page))}
    assert found == set(said), 'a number with a unit needs a line in SAID: measured, a constant, or whose it is'
    for phrase, expected in said.items():
        if not isinstance(expected, str):
            given = numbers(phrase)
            wanted = expected if isinstance(expected, tuple) else (expected,)
            given *= len(wanted) if len(given) == 1 else 1  # one number that stands in several places
            digits = len(re.sub(r'^\d+\.?|[^\d.].*', '', phrase))
            for number, true in zip(given, wanted, strict=True):
                assert abs(number - true) <= 0.5001 * 10.0**-digits * (true >= 1), f'{phrase}: {true}'
