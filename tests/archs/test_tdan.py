import torch

from votes.archs import build_network
from votes.archs.contract import promise
from votes.losses.pixel_loss import MSELoss
from votes.models.terms import Term

SMALL = {'type': 'TDAN', 'num_feat': 4, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1}


def test_the_centre_frame_is_its_own_alignment_and_costs_no_loss():
    torch.manual_seed(0)
    net = build_network({**SMALL, 'scale': 2})
    x = torch.rand(2, 5, 3, 8, 10)
    result = net(x)
    torch.testing.assert_close(result['lrs'][:, 2], x[:, 2])
    said = promise(net)
    term = Term('l_aligned', MSELoss(), **said.supervised['l_aligned'])
    sample = {'lq': x, 'gt': torch.rand(2, 1, 3, 16, 20)}
    (value,) = term.values({'lrs': result['lrs'].unsqueeze(1)}, sample, said, 2).values()
    torch.testing.assert_close(value, 0.25 * ((result['lrs'] - x[:, 2:3]) ** 2).mean())


def test_pixels_around_zero_are_the_authors_convention():
    torch.manual_seed(0)
    net, theirs = (build_network({**SMALL, 'scale': 1, 'shift': shift}) for shift in (0.5, 0))
    theirs.load_state_dict(net.state_dict())
    x = torch.rand(1, 5, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(net(x)['out'] - 0.5, theirs(x - 0.5)['out'])
