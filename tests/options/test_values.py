"""Values that torch or the file system would refuse later: told with file and line, before anything starts."""

import re
from pathlib import Path

import pytest
from conftest import VDSR

from votes.cli import main
from votes.options import OptionError, load_options

QUICK = {'model_type': 'EDVRModel', 'network_g': VDSR, 'datasets__train__center_gt': False}


@pytest.mark.parametrize(
    ('change', 'key'),
    [
        ({'train__optim_g__lr': float('nan')}, 'train.optim_g.lr'),
        ({'train__optim_g__lr': -0.1}, 'train.optim_g.lr'),
        ({'train__optim_g__lr': float('inf')}, 'train.optim_g.lr'),
        ({'train__optim_g__betas': [0.9, 1.5]}, 'train.optim_g.betas'),
        ({'train__optim_g__eps': -1.0}, 'train.optim_g.eps'),
        ({'train__optim_g__weight_decay': float('nan')}, 'train.optim_g.weight_decay'),
        ({'train__pixel_opt': {'type': 'L1Loss', 'loss_weight': float('nan')}}, 'train.pixel_opt.loss_weight'),
        ({'train__pixel_opt': {'type': 'L1Loss', 'reduction': 'som'}}, 'train.pixel_opt.reduction'),
        ({'train__scheduler': {'type': 'MultiStepLR', 'milestones': [2], 'gamma': float('nan')}}, 'train.scheduler'),
        ({'train__ema_decay': float('nan')}, 'train.ema_decay'),
        ({'train__grad_clip': float('inf')}, 'train.grad_clip'),
        ({'network_g__num_feat': 0}, 'network_g'),
        ({'datasets__train__interval_list': [0]}, 'datasets.train.interval_list'),
        ({'name': '..'}, 'name'),
        ({'name': '.'}, 'name'),
        ({'name': '.hidden'}, 'name'),
        ({'name': 'a/b'}, 'name'),
        ({'val__metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0, 'better': 'most'}}}, 'better'),
    ],
)
def test_told_with_file_and_line(place, change, key):
    file = place(**{**QUICK, 'network_g': dict(VDSR), **change})
    with pytest.raises(OptionError) as caught:
        load_options(file)
    assert len(caught.value.problems) == 1, caught.value
    assert re.match(rf'opt.yml:\d+: .*{re.escape(key)}', caught.value.problems[0])


def test_the_average_of_the_weights_is_one_of_training_wherever_it_stands(place):
    assert load_options(place(**{**QUICK, 'network_g': {**VDSR, 'ema_decay': 0.9}})).training.ema_decay == 0.9


def test_set_may_be_given_several_times(place, capsys):
    """The worst kind of wrong for a sweep: all but the last group would be dropped without a word."""
    file = place(**QUICK)
    more = ['--set', 'manual_seed=8', 'train.total_iter=2', '--set', 'train.optim_g.lr=0.5', '--set', 'val.val_freq=3']
    assert main(['train', '-opt', file, *more]) == 0
    opt = load_options(Path('experiments/tiny/options.yml'))
    assert (opt.manual_seed, opt.training.total_iter, opt.training.optim_g.args['lr']) == (8, 2, 0.5)


@pytest.mark.parametrize('verb', ['train', 'test', 'sense', 'finetune'])
def test_every_verb_takes_set_several_times(verb):
    import argparse

    from votes.commands.verbs import program

    parser = argparse.ArgumentParser()
    program(verb).add_arguments(parser)
    action = next(a for a in parser._actions if '--set' in a.option_strings)
    assert type(action).__name__ == '_ExtendAction'


def test_an_unknown_verb_is_guessed(capsys):
    assert main(['trian', '-opt', 'x.yml']) == 2
    error = capsys.readouterr().err
    assert "did you mean 'train'?" in error
    assert len(error.splitlines()) <= 3


def test_the_list_describes(capsys):
    assert main(['list']) == 0
    assert re.search(r'VDSR +accurate image super-resolution', capsys.readouterr().out, re.IGNORECASE)
