"""The `votes` command as a stranger meets it: bad input, exit codes, nothing lost; and the package as a whole."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import TINY_DSM, write_clip

from votes import checkpoint
from votes.archs import build_network
from votes.cli import VERBS, main
from votes.video.degrade import encode_h264

ROOT = Path(__file__).resolve().parents[1]


def refused(capsys, *arguments):
    """Runs the command, which must end with exit code 2; returns its message."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert 'Traceback' not in error
    return error


def test_missing_option_file(place, capsys):
    place(file='near.yml')
    text = refused(capsys, 'train', '-opt', 'nearr.yml')
    assert 'nearr.yml' in text
    assert 'near.yml' in text.replace('nearr.yml', '')


def test_unknown_keys_are_all_named_with_their_lines(place, capsys):
    text = refused(capsys, 'train', '-opt', place(network_g__num_feats=3, train__total_itr=5, datasets__val__typo=1))
    lines = Path('opt.yml').read_text().splitlines()
    for key, known in (('num_feats', 'num_feat'), ('total_itr', 'total_iter'), ('typo', '')):
        number = next(i for i, line in enumerate(lines, 1) if line.strip().startswith(f'{key}:'))
        assert re.search(rf'opt.yml:{number}: .*{key}: unknown key.*{known}', text), text
    assert not Path('experiments').exists()


def test_missing_dataset_folder(place, capsys):
    text = refused(
        capsys, 'train', '-opt', place(datasets__train__dataroot_gt='gtt', datasets__val__dataroot_lq='no/lq')
    )
    assert 'no such folder: gtt' in text
    assert 'gt, ' in text
    assert 'no such folder: no/lq' in text


def test_counts_and_sizes_that_do_not_match(place, capsys):
    file = place()
    Path('lq/000/00000005.png').unlink()
    write_clip(Path('lq/003'), 6, (16, 16))
    write_clip(Path('gt/003'), 6, (38, 32))
    text = refused(capsys, 'train', '-opt', file)
    assert '2 of 4 clips cannot be used' in text
    assert re.search(r'000: .*5.*6|000: .*6.*5', text)
    assert re.search(r'003: .*38', text)


@pytest.mark.parametrize('verb', ['train', 'test'])
def test_truncated_png(verb, place, capsys):
    for picture in Path('.').glob('lq/*/*.png'):
        picture.write_bytes(picture.read_bytes()[:300])
    file = place('EDVRModel', path={'pretrain_network_g': None} if verb == 'test' else {})
    text = refused(capsys, verb, '-opt', file)
    assert re.search(r'lq/\d+/\d+\.png', text)
    assert 'copy or extract this frame again' in text


def test_truncated_png_read_by_a_worker(place, capsys):
    file = place(datasets__train__num_worker_per_gpu=1)
    for picture in Path('.').glob('lq/*/*.png'):
        picture.write_bytes(picture.read_bytes()[:300])
    assert re.search(r'lq/\d+/\d+\.png', refused(capsys, 'train', '-opt', file))


def test_clip_shorter_than_the_window(place, capsys):
    file = place()
    write_clip(Path('lq/003'), 4, (16, 16))
    write_clip(Path('gt/003'), 4, (32, 32))
    assert re.search(r'003: .*4', refused(capsys, 'train', '-opt', file))


def test_checkpoint_of_another_architecture(place, capsys):
    other = build_network({'type': 'BIN', **TINY_DSM})
    checkpoint.save({'params': other.state_dict()}, 'other.pth')
    text = refused(capsys, 'train', '-opt', place(path__pretrain_network_g='other.pth'))
    assert 'other.pth' in text
    assert re.search(r'\d+ keys missing, \d+ unexpected', text)
    assert len(text.splitlines()) < 25, 'a short table'


@pytest.fixture
def weights(place):
    """Weights of a tiny VOTES as `votes restore` takes them, and a video."""
    place()
    options = {'type': 'EDVR', 'num_feat': 8, 'deformable_groups': 2, 'num_reconstruct_block': 1, 'scale': 2}
    checkpoint.save({'params': build_network(options).state_dict(), 'network_g': options}, 'edvr.pth')
    frames = write_clip(Path('video'), 6, (16, 32))
    encode_h264(frames, 'in.mp4', 20)
    return 'edvr.pth'


def test_output_that_exists(weights, capsys):
    Path('out.mp4').write_text('mine')
    text = refused(capsys, 'restore', 'in.mp4', 'out.mp4', '--weights', weights)
    assert 'out.mp4' in text
    assert '--overwrite' in text
    assert Path('out.mp4').read_text() == 'mine'
    Path('demo').mkdir()
    assert '--overwrite' in refused(capsys, 'demo-data', 'demo')


@pytest.mark.parametrize('content', [None, b'', b'no video at all' * 99])
def test_unreadable_video(content, weights, capsys):
    if content is not None:
        Path('bad.mp4').write_bytes(content)
    assert 'bad.mp4' in refused(capsys, 'restore', 'bad.mp4', 'out.mp4', '--weights', weights)
    assert not Path('out.mp4').exists()


def test_weights_that_are_none(weights, capsys):
    Path('page.pth').write_text('<html>quota exceeded</html>')
    assert 'web page' in refused(capsys, 'restore', 'in.mp4', 'out.mp4', '--weights', 'page.pth')
    assert 'edvr.pth' in refused(capsys, 'restore', 'in.mp4', 'out.mp4', '--weights', 'edvrr.pth')


def test_unknown_device(weights, capsys):
    assert 'gpu9' in refused(capsys, 'restore', 'in.mp4', 'out.mp4', '--weights', weights, '--device', 'gpu9')


def test_weights_cannot_name_what_is_run(weights, capsys):
    """What a checkpoint names is built where it is a network, and never called where it is not."""
    state = checkpoint.read_weights(weights)
    checkpoint.save({'params': state, 'network_g': {'type': 'os:system', 'command': 'touch executed'}}, 'bad.pth')
    assert main(['restore', 'in.mp4', 'out.mp4', '--weights', 'bad.pth']) == 0, 'the shapes tell that it is an EDVR'
    assert not Path('executed').exists()
    for network in ('EDVR', {}, 5):
        checkpoint.save({'params': state, 'network_g': network}, 'odd.pth')
        assert main(['restore', 'in.mp4', 'out.mp4', '--weights', 'odd.pth', '--overwrite']) == 0


def test_weights_of_stage_1(weights, capsys):
    text = refused(capsys, 'restore', 'in.mp4', 'out.mp4', '--weights', 'dsm.pth')
    assert 'BIN restores no video' in text


@pytest.mark.parametrize(
    'arguments',
    [
        ['restore', 'in.mp4', 'out.xyz'],
        ['restore', 'in.mp4', 'out.mp4', '--crf', '99'],
        ['restore', 'in.mp4', 'out.mp4', '--crf', '-7'],
    ],
)
def test_videos_that_are_not_made(weights, capsys, arguments):
    refused(capsys, *arguments, '--weights', weights)
    assert not Path(arguments[2]).exists()


def test_sheets_that_are_not_made(place, capsys):
    Path('there.png').write_text('mine')
    for more in (['-o', 's.png', '--frames', '0'], ['-o', 's.txt'], ['-o', 'there.png']):
        refused(capsys, 'sheet', '-opt', place(), *more)
    assert Path('there.png').read_text() == 'mine'


def test_a_file_where_a_folder_should_be(place, capsys):
    Path('experiments').write_text('')
    assert 'cannot be written' in refused(capsys, 'train', '-opt', place())
    assert 'a file stands where' in refused(capsys, 'demo-data', 'experiments/x')
    assert 'a file stands where' in refused(capsys, 'demo-data', 'experiments', '--overwrite')


def test_a_crop_that_leaves_nothing(place, capsys):
    metrics = {'psnr': {'type': 'calculate_psnr', 'crop_border': 16}}
    assert 'leaves nothing' in refused(capsys, 'train', '-opt', place(val={'val_freq': 1, 'metrics': metrics}))


@pytest.mark.parametrize('count', ['0', '-1', 'many'])
def test_processes_that_are_none(place, capsys, count):
    assert 'not a number of processes' in refused(capsys, 'launch', f'--nproc={count}', 'train', '-opt', place())


def test_a_key_one_level_too_high(place, capsys):
    for changes in (
        {'datasets': {'type': 'UVSSMDataset', 'dataroot_gt': 'gt'}},
        {'val__metrics__type': 'calculate_psnr'},
        {'logger__type': 'x'},
        {'train__lr_mul': {'type': 'x'}},
        {'path': {'type': 'x'}},
    ):
        assert 'type' in refused(capsys, 'train', '-opt', place(**changes))


def test_list(capsys):
    assert main(['list']) == 0
    text = capsys.readouterr().out
    for name in ('VOTES', 'CharbonnierLoss', 'calculate_ssim', 'UVSSMDataset', 'MultiStepLR', 'AdamW', 'DSMModel'):
        assert name in text


def test_help_shows_every_verb_once_in_its_group(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['--help'])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    places = {name: [i for i, line in enumerate(lines) if line.startswith(f'  {name} ')] for name in VERBS}
    assert all(len(found) == 1 for found in places.values()), places
    heads = {verb.group: lines.index(f'{verb.group}:') for verb in VERBS.values()}
    for name, verb in VERBS.items():
        assert max(head for head in heads.values() if head < places[name][0]) == heads[verb.group]


def test_an_argument_that_is_missing(capsys):
    """One sentence, where and what to do, not a page of usage."""
    with pytest.raises(SystemExit) as ended:
        main(['dfm', 'in.mp4', 'out.mp4'])
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith('error: ')
    assert '--weights' in said[0]
    assert said[1:] == ['  where: votes dfm', '  fix  : `votes dfm --help` shows what it takes']


def test_a_list_of_one_kind(capsys):
    assert main(['list', 'scheduler']) == 0
    text = capsys.readouterr().out
    assert 'MultiStepLR' in text
    assert 'VOTES' not in text


@pytest.mark.parametrize('verb', sorted(VERBS))
def test_help(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        main([verb, '--help'])
    assert ended.value.code == 0
    assert verb in capsys.readouterr().out


def test_importing_has_no_side_effects():
    code = (
        'import sys, votes, votes.registry, votes.cli; print([m for m in ("torch", "cv2", "av") if m in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-W', 'error', '-c', code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ('[]', '')


def test_nothing_unpickles_code():
    for path in [*ROOT.glob('votes/**/*.py'), *ROOT.glob('benchmarks/**/*.py'), *ROOT.glob('scripts/**/*.py')]:
        text = path.read_text()
        assert 'weights_only=False' not in text, path
        assert not re.search(r'torch\.load\((?![^\n]*weights_only=True)', text), path


def test_a_gpu_that_is_not_there(place, capsys):
    if torch.cuda.is_available():
        pytest.skip('there is one')
    assert main(['train', '-opt', place(num_gpu=1)]) == 0
    assert 'num_gpu: 1: no CUDA device here, the CPU is used' in capsys.readouterr().out
