import pytest
import torch

from votes.archs import build_network
from votes.archs.contract import promise
from votes.archs.rsdn_arch import halved_and_doubled
from votes.errors import UserError
from votes.models.terms import target_of


def test_only_the_first_frame_looks_at_its_follower():
    torch.manual_seed(0)
    net = build_network({'type': 'RSDN', 'scale': 2, 'num_feat': 4, 'num_block': 1})
    x = torch.rand(1, 4, 3, 8, 8)
    with torch.no_grad():
        before = net(x)['out']
        for changed, frames in ((1, [0, 1, 2, 3]), (2, [2, 3]), (3, [3])):
            other = x.clone()
            other[:, changed] = torch.rand(3, 8, 8)
            differs = (net(other)['out'] != before).flatten(2).any(2)[0]
            assert differs.nonzero().flatten().tolist() == frames


def test_targets_are_what_the_streams_see():
    gt, said = torch.rand(2, 3, 3, 16, 24), promise(build_network({'type': 'RSDN', 'num_feat': 4, 'num_block': 1}))
    assert {entry.get('target', 'gt') for entry in said.supervised.values()} == {'gt', 'gt_structure', 'gt_detail'}
    structure = target_of('gt_structure', gt, said, 4)
    torch.testing.assert_close(structure.flatten(0, 1), halved_and_doubled(gt.flatten(0, 1)))
    torch.testing.assert_close(structure + target_of('gt_detail', gt, said, 4), gt)


def test_short_clips_are_named_and_the_paper_has_its_parameters():
    net = build_network({'type': 'RSDN'})
    assert sum(p.numel() for p in net.parameters()) == 6180236
    with pytest.raises(UserError, match='at least 3'):
        net(torch.rand(1, 2, 3, 8, 8))
