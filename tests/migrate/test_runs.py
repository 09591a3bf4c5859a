"""Runs of other programs go on: the next step is the one that they would have taken."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import tiny_options

from votes import checkpoint
from votes.archs import build_network
from votes.cli import main
from votes.migrate.moments import moments_of
from votes.migrate.runs import migrate_run
from votes.models import build_model
from votes.options import load_options
from votes.training.checkpoint_store import Saves
from votes.training.position import Setup
from votes.training.position import resume as go_on

LR = 1e-3


def options(**changes):
    given = tiny_options('EDVRModel')
    given['train'] |= {'scheduler': {'type': 'MultiStepLR', 'milestones': [100]}, 'total_iter': 6, 'ema_decay': 0.9}
    given['train'] |= changes.pop('train', {})
    given['network_g']['with_tsa'] = False
    given['path'] = {'pretrain_network_g': 'gone.pth'}
    return given | changes


def batch(seed):
    draw = torch.Generator().manual_seed(seed)
    return {'lq': torch.rand(2, 5, 3, 8, 8, generator=draw), 'gt': torch.rand(2, 3, 16, 16, generator=draw)}


class Theirs:
    """A training as BasicSR does it: plain PyTorch, two groups of parameters, an average, files by number."""

    def __init__(self, given, second=None, factor=1.0):
        torch.manual_seed(1)
        self.net = build_network(given['network_g']).train()
        self.average = {name: p.detach().clone() for name, p in self.net.named_parameters()}
        names = [name for name, _ in self.net.named_parameters()]
        groups = [[n for n in names if not second or second not in n], [n for n in names if second and second in n]]
        by_name = dict(self.net.named_parameters())
        self.optimizer = torch.optim.Adam(
            [
                {'params': [by_name[n] for n in group], 'lr': LR * rate}
                for group, rate in zip(groups, (1, factor), strict=True)
                if group
            ]
        )

    def step(self, number):
        data = batch(number)
        self.optimizer.zero_grad()
        torch.sqrt((self.net(data['lq']) - data['gt']) ** 2 + 1e-12).mean().backward()
        self.optimizer.step()
        for name, parameter in self.net.named_parameters():
            self.average[name].mul_(0.9).add_(parameter.detach(), alpha=0.1)

    def save(self, folder, number, names=str):
        (folder / 'models').mkdir(parents=True)
        (folder / 'training_states').mkdir()
        weights = {'params': self.net.state_dict(), 'params_ema': self.average}
        weights = {key: {names(name): value for name, value in part.items()} for key, part in weights.items()}
        torch.save(weights, folder / 'models' / f'net_g_{number}.pth')
        rates = [group['lr'] for group in self.optimizer.param_groups]
        state = {'epoch': 0, 'iter': number, 'optimizers': [self.optimizer.state_dict()]}
        state['schedulers'] = [{'last_epoch': number - 1, '_last_lr': rates}]
        torch.save(state, folder / 'training_states' / f'{number}.state')


def continued(folder, opt_file):
    """Our training after it took over what lies in `folder`."""
    opt = load_options(opt_file, check_paths=False)
    model = build_model(opt, torch.device('cpu'))
    at = go_on(model, Saves(folder), opt, Setup.of(opt, None))
    return model, at


CASES = {'one group': {}, 'two groups': {'dcn_lr_mul': 0.25}}


@pytest.mark.parametrize('name', CASES)
def test_the_next_step_is_theirs(name, pairs, monkeypatch, capsys):
    monkeypatch.chdir(pairs())
    given = options(train=CASES[name])
    theirs = Theirs(given, 'dcn' if CASES[name] else None, 0.25)
    for number in (1, 2, 3):
        theirs.step(number)
    theirs.save(Path('theirs'), 3)
    Path('theirs/opt.yml').write_text(yaml.safe_dump(given))
    assert main(['migrate', 'theirs', '-o', 'experiments/ours']) == 0
    said = capsys.readouterr().out
    count = len(list(theirs.net.parameters()))
    assert f'moments of {count} of {count} parameters' in said
    assert 'the learning rate goes on at 0.001' in said
    model, at = continued(Path('experiments/ours'), 'experiments/ours/migrated.yml')
    assert at.iteration == 3
    for number in (4, 5):
        theirs.step(number)
        model.step(batch(number), number)
    own, average = model.net.state_dict(), dict(model.generator.ema.named_parameters())
    for key, value in theirs.net.named_parameters():
        torch.testing.assert_close(own[key], value.detach(), rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(average[key], theirs.average[key], rtol=1e-5, atol=1e-7)


def test_votes_train_goes_on(pairs, monkeypatch, capsys):
    monkeypatch.chdir(pairs())
    given = options()
    theirs = Theirs(given)
    theirs.step(1)
    theirs.save(Path('theirs'), 1)
    Path('theirs/opt.yml').write_text(yaml.safe_dump(given))
    assert main(['migrate', 'theirs']) == 0
    assert main(['migrate', 'theirs']) == 2, 'a run is not replaced without being asked'
    assert main(['train', '-opt', 'experiments/tiny/migrated.yml']) == 0
    state = checkpoint.load('experiments/tiny/training_states/6.state')
    assert (state['iter'], float(state['optimizers'][0]['state'][0]['step'])) == (6, 6)
    assert main(['checkpoint', 'verify', 'experiments/tiny']) == 0


def test_parts_that_were_trained_before_are_in_the_checkpoint(pairs, monkeypatch):
    """The DSM's own file need not be there any more."""
    monkeypatch.chdir(pairs())
    given = tiny_options('VOTESModel')
    given['train']['total_iter'] = 2
    torch.manual_seed(1)
    net = build_network(given['network_g'])
    for folder in ('models', 'training_states'):
        Path('theirs', folder).mkdir(parents=True)
    torch.save({'params': net.state_dict()}, 'theirs/models/net_g_1.pth')
    optimizer = torch.optim.Adam(net.parameters())
    state = {'iter': 1, 'epoch': 0, 'optimizers': [optimizer.state_dict()], 'schedulers': []}
    torch.save(state, 'theirs/training_states/1.state')
    Path('theirs/opt.yml').write_text(yaml.safe_dump(given))
    assert main(['migrate', 'theirs', '-o', 'experiments/ours']) == 0
    opt = load_options('experiments/ours/migrated.yml')
    assert opt.path.bin_model is None
    model, at = continued(Path('experiments/ours'), 'experiments/ours/migrated.yml')
    assert at.iteration == 1
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in model.net.state_dict().items())


def test_moments_follow_names_in_another_order():
    """The network elsewhere has its modules in another order and under other names: numbers alone would mix them up."""
    net = build_network({'type': 'BasicVSR', 'num_feat': 8, 'num_block': 1, 'scale': 2})
    own = dict(net.named_parameters())

    def theirs(name):
        return name.replace('ward_trunk.', 'ward_resblocks.')

    turned = sorted(net.state_dict(), reverse=True)
    weights = {theirs(name): net.state_dict()[name] for name in turned}
    listed = [name for name in turned if name in own]
    state = {
        'param_groups': [{'params': list(range(len(listed)))}],
        'state': {
            i: {'step': 7, 'exp_avg': own[name].detach() * 2, 'exp_avg_sq': own[name].detach() ** 2}
            for i, name in enumerate(listed)
            if not name.startswith('spynet.')  # at rest
        },
    }
    found, problem = moments_of(weights, state, net)
    assert problem is None
    assert found.keys() == {name for name in own if not name.startswith('spynet.')}
    for name, moments in found.items():
        assert torch.equal(moments['exp_avg'], own[name] * 2)
        assert torch.equal(moments['exp_avg_sq'], own[name] ** 2)
        assert float(moments['step']) == 7
    state['param_groups'][0]['params'].pop()
    assert 'in other groups' in moments_of(weights, state, net)[1]


def test_a_run_of_mmagic(pairs, monkeypatch, capsys):
    """iter_N.pth with the trainer's names, a group for each parameter, and objects of mmengine beside them."""
    monkeypatch.chdir(pairs())
    given = options()
    theirs = Theirs(given)
    theirs.step(1)
    state = theirs.optimizer.state_dict()
    state['param_groups'] = [{**state['param_groups'][0], 'params': [i]} for i in state['param_groups'][0]['params']]
    folder = Path('work_dirs/edvr')
    folder.mkdir(parents=True)
    weights = {f'generator.{name}': value for name, value in theirs.net.state_dict().items()}
    torch.save({'meta': {'iter': 1}, 'state_dict': weights, 'optimizer': state}, folder / 'iter_1.pth')
    Path('opt.yml').write_text(yaml.safe_dump(given))
    _, _, lines = migrate_run(folder, Path('experiments/ours'), Path('opt.yml'))
    count = len(list(theirs.net.parameters()))
    assert any(f'moments of {count} of {count} parameters' in line for line in lines)
    assert any('average begins with them' in line for line in lines)


def test_objects_in_a_file_of_mmengine_are_ignored(tmp_path):
    """A class of that name is in the file; nothing of it is called."""
    import sys
    import types

    from votes.errors import UserError
    from votes.migrate.mmengine import read_mmengine

    module = types.ModuleType('mmengine.logging.history_buffer')

    class HistoryBuffer:
        def __init__(self):
            self.values = np.array([1.0]), np.float64(2)

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, 'HistoryBuffer'
    module.HistoryBuffer = HistoryBuffer
    names = ['mmengine', 'mmengine.logging', module.__name__]
    sys.modules |= dict.fromkeys(names, module)
    content = {'state_dict': {'a': torch.ones(2)}, 'message_hub': {'log': HistoryBuffer()}}
    try:
        torch.save(content, tmp_path / 'iter_1.pth')
    finally:
        for name in names:
            del sys.modules[name]
    assert torch.equal(read_mmengine(tmp_path / 'iter_1.pth')['state_dict']['a'], torch.ones(2))
    torch.save({'state_dict': {}, 'code': print}, tmp_path / 'iter_2.pth')
    with pytest.raises(UserError, match='holds code'):
        read_mmengine(tmp_path / 'iter_2.pth')
