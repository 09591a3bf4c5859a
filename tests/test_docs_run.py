"""The commands of README and docs/ run on tiny data, or say which test runs their verb instead, or why none does."""

import functools
import shutil
from pathlib import Path

import cv2
import pytest
import torch
from conftest import TINY_DSM, VDSR, write_clip
from docs_commands import ROOT, all_commands

from votes import checkpoint
from votes.archs import build_network
from votes.cli import main
from votes.video.degrade import encode_h264

# how a command begins -> the test that runs its verb on data of its own, or why it does not run in a test
ELSEWHERE = {
    'source .venv': 'a shell of its own',
    'pip install': 'tests/test_wheel.py',
    'python -m': 'tests/options/test_reference.py',
    'bash scripts/test.sh': 'it runs this test',
    'bash scripts/demo.sh': 'minutes; its numbers are benchmarks/results/demo.json',
    'bash scripts/docs.sh': 'downloads its tools; test_docs.py builds the site where they are',
    'bash scripts/bench_gpu.sh': 'tests/gpu/test_real_gpu.py is what it runs',
    'bash dist_': 'tests/processes/test_launch.py',
    'sbatch': 'tests/processes/test_slurm.py',
    'votes launch': 'tests/processes/test_launch.py',
    'votes app': 'tests/app/test_app.py',
    'votes train -opt options/train/NAME': 'tests/commands/test_new_network.py',
    'votes train -opt': 'tests/test_option_files_run.py',
    'votes test -opt': 'tests/test_option_files_run.py',
    'votes check-data -opt': 'tests/data/tools/test_check.py',
    'votes restore IN.mp4 OUT.mp4 --weights net.onnx': 'tests/export/test_graphs.py',
    'votes restore IN.mp4 OUT.mp4 --weights experiments/NAME': 'tests/commands/test_new_network.py',
    'votes export': 'tests/export/test_graphs.py',
    'votes new network': 'tests/commands/test_new_network.py',
    'votes check-network NAME': 'tests/commands/test_new_network.py',
    'votes check-network MyNet': 'tests/commands/test_new_network.py',
    'votes demo-data': 'scripts/demo.sh, and tests/test_tutorial.py',
    'votes degrade': 'tests/video/test_recipe.py',
    'votes prepare': 'tests/data/tools/test_prepare.py',
    'votes migrate': 'tests/migrate/test_option_files.py',
    'votes pair': 'pairs of downloads and originals: tests of platforms make them',
    'votes calibrate': 'tests/platforms/test_calibrate.py',
    'votes platform': 'tests/platforms/test_calibrate.py',
    'votes finetune': 'tests/commands/test_finetune.py',
    'votes reproduce': 'tests/studies/test_studies.py',
    'votes report studies': 'tests/reports/test_page.py',
    'votes metrics OUT.mkv': 'tests/commands/test_metrics_planes.py',
}
# verbs that `prepared` has data for
HERE = ('compare', 'dfm', 'doctor', 'explain', 'metrics', 'plot', 'probe', 'report', 'restore', 'weights')


def runs():
    return list(dict.fromkeys(c.text.partition('  #')[0].strip() for c in all_commands() if not reason(c.text)))


def reason(text):
    return next((why for start, why in ELSEWHERE.items() if text.startswith(start)), None)


def test_what_does_not_run_here_runs_elsewhere():
    for start, why in ELSEWHERE.items():
        assert ' ' in why or (ROOT / why).is_file(), f'{start}: {why}'
    for text in runs():
        assert text.split()[1] in HERE, f'{text}: give it data in `prepared`, or a reason in ELSEWHERE'


@pytest.fixture
def prepared(place):
    """The working folder with what the commands name: a trained run, results, videos, weights."""
    quick = functools.partial(place, 'EDVRModel', network_g=VDSR, datasets__train__center_gt=False)
    for name in ('A', 'B'):
        assert main(['train', '-opt', quick(file=f'{name}.yml', name=name)]) == 0
    file = quick(file='test.yml', name='VOTES_demo', path={'pretrain_network_g': 'experiments/A/models/net_g_4.pth'})
    assert main(['test', '-opt', file]) == 0
    for name in ('NAME', 'A', 'B'):
        shutil.copytree('results/VOTES_demo', f'results/{name}')
    sizes = {f'dsm_{key}': value for key, value in TINY_DSM.items()}
    options = {'type': 'VOTES', 'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 1, **sizes}
    options |= {'num_reconstruct_block': 1, 'num_modulation_blocks': 1}
    torch.manual_seed(0)
    content = {'params': build_network(options).state_dict(), 'network_g': options}
    for path in ('W.pth', 'experiments/VOTES_demo/models/net_g_latest.pth'):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save(content, path)
    frames = write_clip(Path('pictures'), 6, (96, 128))
    encode_h264(frames, 'IN.mp4', 30)
    large = [cv2.resize(frame, (256, 192)) for frame in frames]
    encode_h264(large, 'GT.mp4', 5)
    for name, better in (('ANCHOR', 0), ('TEST', 1)):
        Path(f'{name}.csv').write_text(''.join(f'{100 * 2**i},{30 + 2 * i + better}\n' for i in range(5)))


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_they_run(prepared, capsys):
    done = []
    for text in runs():
        words = text.split()
        words = [str(path) for word in words for path in (sorted(Path().glob(word)) if '*' in word else [word])]
        assert words[0] == 'votes', f'{text} neither runs here nor has a reason'
        again = ['--overwrite'] if words[1] in ('restore', 'dfm') else []
        done.append((text, main([*words[1:], *again])))
    assert not [text for text, code in done if code != 0], capsys.readouterr().err
