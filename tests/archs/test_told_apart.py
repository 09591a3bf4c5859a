"""Weights without stored options: which network they are of, and what is said of those that restore no video."""

import pytest
import torch

from votes.archs import build_network, infer_options, load_weights
from votes.archs.contract import promise
from votes.errors import UserError
from votes.export.hub import network_of
from votes.registry import NETWORKS

BARE = {
    'SpyNet': {},
    'UNetDiscriminatorSN': {'num_in_ch': 3, 'num_feat': 4},
    'VGGStyleDiscriminator': {'num_in_ch': 3, 'num_feat': 2, 'input_size': 128},
}


@pytest.mark.parametrize(('name', 'arguments'), BARE.items())
def test_what_networks_and_losses_are_made_of_is_told_by_name(name, arguments, tmp_path):
    part, path = build_network({'type': name, **arguments}), tmp_path / 'bare.pth'
    assert infer_options(part.state_dict()) == {'type': name, **arguments}
    torch.save({'params': part.state_dict()}, path)
    with pytest.raises(UserError, match=f'another network: type {name}'):
        load_weights(build_network({'type': 'EDVR', **NETWORKS.get('EDVR').small}), path)
    with pytest.raises(UserError, match=f'{name} is no network of videos'):
        promise(network_of(path, 'cpu'))


def test_a_network_that_restores_is_no_discriminator(tmp_path):
    torch.save(
        {'params': build_network({'type': 'EDVR', **NETWORKS.get('EDVR').small}).state_dict()}, tmp_path / 'g.pth'
    )
    with pytest.raises(UserError, match='another network: type EDVR'):
        load_weights(build_network({'type': 'UNetDiscriminatorSN', **BARE['UNetDiscriminatorSN']}), tmp_path / 'g.pth')


INSIDE = {
    'PIM': {'type': 'RCVN_B', **NETWORKS.get('RCVN_B').small},
    'Block2Rock': NETWORKS.get('Block2Rock').small['network'],
    'Overlap': NETWORKS.get('Overlap').small['network'],
}


@pytest.mark.parametrize(('name', 'inside'), INSIDE.items())
def test_what_shows_patches_to_a_network_is_told_by_the_network_inside(name, inside):
    whole = {'type': name, 'network': inside, **({'num_frame': 3} if name == 'Block2Rock' else {})}
    told = infer_options(build_network(whole).state_dict())
    assert told | {'network': whole['network']} == whole
    assert told['network']['type'] == inside['type']


def test_patches_of_windows_that_either_may_show_are_refused():
    inside = {'type': 'EDVR', **NETWORKS.get('EDVR').small, 'scale': 1, 'num_frame': 3}
    with pytest.raises(UserError, match='PIM, or Block2Rock'):
        infer_options(build_network({'type': 'PIM', 'network': inside}).state_dict())
