"""Promises P1, P4, P5, P6, P16, P18, P20: a run that is stopped and goes on is the run that was never stopped."""

import itertools
import shutil
from pathlib import Path

import pytest
import torch

from votes import checkpoint
from votes.cli import main
from votes.data import build_train_loader, build_train_set
from votes.models import build_model
from votes.models.terms import restoring
from votes.options import load_options
from votes.training.position import Position, Setup

RUN = Path('experiments/tiny')
SIX = {
    'train__total_iter': 6,
    'logger__save_checkpoint_freq': 1,
    'val__val_freq': 100,
    'train__scheduler__periods': [6],
}


def train(file, *more):
    assert main(['train', '-opt', file, *more]) == 0


def everything(iteration, folder=RUN):
    """All tensors and numbers of a checkpoint, flat."""
    flat = {}

    def walk(key, value):
        if isinstance(value, dict):
            for name, item in value.items():
                walk(f'{key}.{name}', item)
        elif isinstance(value, list):
            walk(key, dict(enumerate(value)))
        else:
            flat[key] = value

    for path in sorted((folder / 'models').glob(f'net_*_{iteration}.pth')):
        walk(path.name, checkpoint.load(path))
    walk('state', checkpoint.load(folder / 'training_states' / f'{iteration}.state'))
    return flat


def equal(a, b):
    return a.keys() == b.keys() and all(
        torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k] for k in a
    )


def forget_after(iteration):
    """As if the process had been killed after this checkpoint."""
    for path in [*RUN.glob('models/net_*'), *RUN.glob('training_states/*')]:
        number = path.stem.split('_')[-1]
        if not number.isdigit() or int(number) > iteration:
            path.unlink()


ADVERSARIAL = {
    'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4},
    'train__optim_d': {'type': 'Adam', 'lr': 1e-3},
    'train__gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1},
}
CASES = {
    'fp32': ('VOTESModel', {}),
    'workers': ('VOTESModel', {'datasets__train__num_worker_per_gpu': 2}),
    'bf16 accumulation EMA': (
        'VOTESModel',
        {'train__amp': 'bf16', 'train__accumulate': 2, 'train__ema_decay': 0.9, 'train__grad_clip': 0.5},
    ),
    'stage 1 EMA': ('DSMModel', {'train__ema_decay': 0.5, 'datasets__train__batch_size_per_gpu': 1}),
    'GAN': (
        'EDVRModel',
        {
            **ADVERSARIAL,
            **{'train__ema_decay': 0.9, 'train__ema_decay_d': 0.8},
            **{'train__accumulate': 2, 'train__net_d_init_iters': 2},
        },
    ),
    'EDVR fp16': ('EDVRModel', {'train__amp': 'fp16', 'train__tsa_iter': 2, 'train__dcn_lr_mul': 0.3}),
}


@pytest.mark.parametrize('case', CASES)
def test_bit_for_bit(place, case):
    model_type, changes = CASES[case]
    file = place(model_type, **SIX, **changes)
    train(file)
    whole = everything(6)
    for stop in (1, 4):  # in the middle of an epoch of three clips
        forget_after(stop)
        train(file)
        assert equal(whole, everything(6)), stop


def test_the_state_is_complete(place):
    """P18: every attribute of what trains is in the checkpoint, or follows from the options."""
    train(place(**SIX, train__ema_decay=0.9))
    state = checkpoint.load(RUN / 'training_states' / '6.state')
    saved = {'optimizer', 'scaler', 'ema', 'net', 'named'}
    derived = {'train', 'ema_decay', 'messages', 'device', 'dtype', 'parts', 'schedule', 'runner'}
    derived |= {'held', 'held_now'}  # by the iteration
    model = build_model(load_options('opt.yml'), torch.device('cpu'))
    assert vars(model.generator).keys() == saved | derived
    assert {'optimizers', 'scalers', 'position', 'setup'} <= state.keys()
    assert state['position'].keys() == vars(Position()).keys()
    weights = checkpoint.load(RUN / 'models' / 'net_g_6.pth')
    assert not equal(weights['params'], weights['params_ema'])


def test_a_sample_is_a_pure_function_of_seed_epoch_and_index(place):
    """P4. That workers, ranks and resuming change nothing is tested with the loader, in tests/data."""
    opt = load_options(place())
    data = opt.datasets['train']
    one, two = (build_train_set(data, 2, seed=5) for _ in range(2))
    samples = {key: one[key]['lq'] for key in itertools.product(range(3), range(3))}
    assert all(torch.equal(two[key]['lq'], lq) for key, lq in reversed(samples.items()))
    assert not torch.equal(samples[0, 0], samples[1, 0])
    assert not torch.equal(build_train_set(data, 2, seed=6)[0, 0]['lq'], samples[0, 0])


def test_deterministic_runs_are_identical_and_compare_runs_says_so(place, capsys):
    """P6."""
    for name, seed in (('a', 3), ('b', 3), ('c', 4)):
        train(place(name=name, manual_seed=seed, deterministic=True))
    torch.use_deterministic_algorithms(False)
    capsys.readouterr()
    assert main(['compare-runs', 'experiments/a', 'experiments/b']) == 0
    assert 'equal: 5 logged rows and the weights of 2 checkpoints' in capsys.readouterr().out
    assert main(['compare-runs', 'experiments/a', 'experiments/c']) == 1
    assert 'differ first at iteration 1 (train)' in capsys.readouterr().out
    # weights that were changed between logged steps
    shutil.copy('experiments/c/training_states/2.json', 'experiments/b/training_states/2.json')
    assert main(['compare-runs', 'experiments/a', 'experiments/b']) == 1
    assert 'the weights differ first at checkpoint 2' in capsys.readouterr().out
    assert main(['compare-runs', 'experiments/a', 'nowhere']) == 2


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        ({'train__optim_g__lr': 5e-4}, 'train.optim_g.lr: was 0.001, is 0.0005'),
        ({'network_g__num_modulation_blocks': 2}, 'network_g.num_modulation_blocks: was 1, is 2'),
        ({'manual_seed': 4}, 'manual_seed: was 3, is 4'),
        ({'train__amp': 'bf16'}, "train.amp: was 'none', is 'bf16'"),
        ({'datasets__train__batch_size_per_gpu': 1}, 'samples a step: were 2, are 1'),
        ({'datasets__train__gt_size': 24}, 'datasets.train.gt_size: was 16, is 24'),
        ({'datasets__train__val_partition': ['001']}, 'the training clips'),
        ({'train__pixel_opt__type': 'L1Loss'}, 'train.pixel_opt.type'),
    ],
)
def test_changed_options_are_refused_with_a_diff(place, capsys, change, named):
    """P16."""
    train(place(train__total_iter=2, logger__save_checkpoint_freq=2))
    capsys.readouterr()
    before = (RUN / 'training_states' / '2.state').read_bytes()
    file = place(**change)
    assert main(['train', '-opt', file]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert '--allow_changes' in error
    assert (RUN / 'training_states' / '2.state').read_bytes() == before


def test_harmless_changes_pass(place):
    """P16."""
    train(place(**SIX))
    whole = everything(6)
    forget_after(2)
    shutil.move('gt', 'moved')
    harmless = {
        'logger__print_freq': 3,
        'logger__keep_last': 2,
        'datasets__train__num_worker_per_gpu': 1,
        'datasets__train__dataroot_gt': 'moved',
        'datasets__val__dataroot_gt': 'moved',
        'val__save_img': True,
        'dist_params__backend': 'gloo',
        'train__activation_checkpoint': True,
    }
    train(place(**{**SIX, **harmless}))
    after = everything(6)
    weights = [k for k in whole if k.startswith('net_') and '.params.' in k]
    assert all(torch.equal(whole[k], after[k]) for k in weights)
    assert sorted(p.name for p in (RUN / 'training_states').glob('*.state')) == ['5.state', '6.state']


def test_allow_changes(place):
    train(place(train__total_iter=2))
    train(place(train__optim_g__lr=5e-4), '--allow_changes')
    assert (RUN / 'models' / 'net_g_4.pth').is_file()


def test_the_same_batch_in_other_pieces(place):
    """P7: accumulation equals the large batch."""
    train(place(name='large', **SIX))
    train(place(name='pieces', datasets__train__batch_size_per_gpu=1, train__accumulate=2, **SIX))
    large, pieces = (everything(6, Path('experiments', name)) for name in ('large', 'pieces'))
    weights = [k for k in large if k.startswith('net_') and '.params.' in k]
    distance = sum(float((large[k] - pieces[k]).square().sum()) for k in weights) ** 0.5
    assert distance / sum(float(large[k].square().sum()) for k in weights) ** 0.5 < 1e-5


def test_another_number_of_processes_is_said(place, caplog):
    """P5: the samples seen are counted over all ranks (that none is lost or seen twice is tested with the loader)."""
    train(place(**SIX))
    forget_after(2)
    path = RUN / 'training_states' / '2.state'
    state = checkpoint.load(path)
    state['setup'] |= {'ranks': 2, 'samples_a_step': 4}
    state['position']['consumed'] = 8
    for manifest in RUN.glob('training_states/*.json'):
        manifest.unlink()
    checkpoint.save(state, path)
    train('opt.yml')
    assert 'a step now has 2 samples, it had 4' in caplog.text
    assert everything(6)['state.position.consumed'] == 8 + 4 * 2


def test_setup_tells_a_moved_dataset_from_another_one(place):
    opt = load_options(place())
    setup = Setup.of(opt, {'001': 5})
    assert setup.changes(vars(Setup.of(opt, {'001': 5}))) == []
    assert setup.changes(vars(Setup.of(opt, {'001': 6}))) == ['  the training clips or their lengths are not the same']


def test_a_state_of_another_program(place, caplog):
    """Weights and iteration count; moments that are numbered in another order must not be taken for ours."""
    train(place(**SIX))
    foreign = {'epoch': 3, 'iter': 4, 'optimizers': [{'state': {}, 'param_groups': []}], 'schedulers': []}
    checkpoint.save(foreign, 'other/training_states/4.state')
    shutil.copytree(RUN / 'models', 'other/models')
    train(place(**SIX, name='next', path__resume_state='other/training_states/4.state'))
    assert 'saved by another program' in caplog.text
    after = everything(6, Path('experiments/next'))
    assert after['state.iter'] == 6
    assert float(after['state.optimizers.0.state.0.step']) == 2


def test_generator_and_discriminator_are_updated_or_skipped_together(place, monkeypatch):
    """One decision over both: NaN in the discriminator's loss keeps the generator where it was, and names its part."""
    model = build_model(load_options(place('EDVRModel', **ADVERSARIAL)), torch.device('cpu'))
    data = load_options('opt.yml').datasets['train']
    batch = next(iter(build_train_loader(build_train_set(data, 2, 3, model.said), data, 3)))
    before = {name: everything_of(learner.net) for name, learner in model.learners.items()}
    outcome = model.step(batch, 1)
    assert outcome.finite
    assert set(outcome.terms) == {'l_pix', 'l_gan', 'l_gan_d_real', 'l_gan_d_fake'}
    shown = restoring({name: float(term) for name, term in outcome.terms.items()})
    assert shown == pytest.approx(float(outcome.terms['l_pix'] + outcome.terms['l_gan'])), 'of the generator alone'
    after = {name: everything_of(learner.net) for name, learner in model.learners.items()}
    assert all(not torch.equal(before[name][0], after[name][0]) for name in 'gd')
    judged = model._judged
    monkeypatch.setattr(model, '_judged', lambda piece: {k: v * torch.nan for k, v in judged(piece).items()})
    assert not model.step(batch, 2).finite
    now = {name: everything_of(learner.net) for name, learner in model.learners.items()}
    assert all(torch.equal(a, b) for name in 'gd' for a, b in zip(after[name], now[name], strict=True))
    monkeypatch.undo()
    frozen = {name: p.requires_grad for name, p in model.net_d.named_parameters()}
    assert all(frozen.values()), 'the generator was judged without gradients of the discriminator, which trains on'


def everything_of(net):
    return [p.detach().clone() for p in net.parameters()]
