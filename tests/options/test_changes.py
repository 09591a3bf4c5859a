"""What may differ when a run goes on is said where keys are declared."""

import pytest

from votes.options.changes import differences


def run(**more):
    return {
        'name': 'a',
        'datasets': {'train': {'type': 'UVSSMDataset', 'dataroot_gt': 'gt', 'gt_size': 64}},
        'train': {'total_iter': 4, 'amp': 'none', 'parts': {}},
        **more,
    }


@pytest.mark.parametrize(
    'more',
    [
        {'name': 'b', 'path': {'pretrain_network_g': 'x.pth'}, 'logger': {'print_freq': 3}},
        {'train': {'total_iter': 8, 'amp': 'none', 'compile': True, 'nonfinite': {'patience': 9}}},
        {'train': {'total_iter': 4, 'amp': 'none', 'parts': {'flow': {'recompute': True, 'weights': 'x.pth'}}}},
        {'datasets': {'train': {'type': 'UVSSMDataset', 'dataroot_gt': 'moved', 'gt_size': 64, 'pin_memory': False}}},
        {'datasets': {**run()['datasets'], 'val_2': {'type': 'X', 'dataroot_gt': 'other'}}},
    ],
)
def test_what_changes_no_training_may_change(more):
    assert not differences(run(), run(**more))
    assert not differences(run(**more), run())


def test_keys_that_the_version_before_did_not_know_stand_at_their_defaults():
    """A run of it has neither net_d_iters nor what is said of parts, and goes on."""
    now = {'total_iter': 4, 'amp': 'none', 'net_d_iters': 1, 'net_d_init_iters': 0}
    part = {'flow': {'freeze': False, 'lr_mul': 1.0, 'offload': True}}
    assert not differences(run(), run(train={**now, 'parts': part}))
    assert differences(run(), run(train={**now, 'net_d_iters': 2})) == ['train.net_d_iters: was None, is 2']


@pytest.mark.parametrize(
    ('more', 'named'),
    [
        ({'train': {'total_iter': 4, 'amp': 'bf16'}}, "train.amp: was 'none', is 'bf16'"),
        ({'train': {'total_iter': 4, 'parts': {'flow': {'lr_mul': 0.5}}, 'amp': 'none'}}, 'train.parts.flow.lr_mul'),
        ({'datasets': {'train': {'type': 'UVSSMDataset', 'gt_size': 32}}}, 'datasets.train.gt_size: was 64, is 32'),
        ({'network_g': {'type': 'EDVR'}}, 'network_g.type'),
    ],
)
def test_what_changes_training_is_named(more, named):
    assert named in '\n'.join(differences(run(), run(**more)))
