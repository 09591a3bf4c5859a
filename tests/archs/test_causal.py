"""In training, what the frames of a clip share is computed together: it gives what steps give."""

import pytest
import torch

from votes.archs import build_network
from votes.archs.contract import apply, promise
from votes.commands.check_network import sample_for
from votes.registry import NETWORKS


@pytest.mark.parametrize('name', ['CDAVSR', 'RFDA', 'RealViformer', 'TMP'])
def test_a_clip_in_training_is_its_steps(name):
    torch.manual_seed(0)
    net = build_network({'type': name, **NETWORKS.get(name).small})
    sample = sample_for(promise(net), 4, (20, 24))
    with torch.no_grad():
        torch.testing.assert_close(apply(net.train(), sample)['out'], apply(net.eval(), sample)['out'])
