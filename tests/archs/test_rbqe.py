"""What is special about RBQE: frames leave where they look good enough."""

import math

import pytest
import torch
import torch.nn.functional as F

from votes.archs.contract import apply
from votes.archs.parts.exit_score import BLOCK, GOOD, _polynomials, quality
from votes.archs.rbqe_arch import RBQE


def by_blocks(picture, codec):
    """The score as its definition goes, block after block."""
    side = BLOCK[codec]
    basis = _polynomials(side, picture)
    bell = torch.tensor([[math.exp(-(i * i + j * j) / 50) for i in (-1, 0, 1)] for j in (-1, 0, 1)])

    def moments(block):
        block = block / math.sqrt(side**2 * float((block**2).mean()))
        return basis @ (block - block.mean()) @ basis.T

    blurs, blocks = [], []
    for y in range(side // 2 - 1, picture.shape[1] - side + 1, side):
        for x in range(side // 2 - 1, picture.shape[2] - side + 1, side):
            block = picture[0, y : y + side, x : x + side]
            found = moments(block)
            first = abs(float(found[0, 0]))
            if float((found**2).sum()) - first**2 > 0.004:
                soft = moments(F.conv2d(block[None, None], (bell / bell.sum())[None, None], padding=1)[0, 0])
                blurs.append(1 - float(((2 * found * soft + 1e-5) / (found**2 + soft**2 + 1e-5)).mean()))
            else:
                total = float(found.abs().sum())
                strengths = [float(edge.abs().sum()) / total - first + 1e-5 for edge in (found[-1], found[:, -1])]
                blocks.append(math.log(1 - sum(min(s, 0.05) for s in strengths) / 2) / math.log(0.95))
    blocky, blur = (sum(values) / len(values) if values else 1 for values in (blocks, blurs))
    return blocky**0.9 * blur**0.1


@pytest.mark.parametrize('codec', ['hevc', 'jpeg'])
def test_score_of_a_picture_is_that_of_its_blocks(codec):
    torch.manual_seed(0)
    picture = F.interpolate(torch.rand(1, 3, 6, 7), size=(35, 42), mode='bicubic')[0]
    assert quality(picture, codec) == pytest.approx(by_blocks(picture, codec), rel=1e-3)


def test_frames_leave_one_by_one(monkeypatch):
    torch.manual_seed(0)
    net = RBQE(nf_base=4, nlevel=3, all_exits=True, comp_type='hevc').eval()
    exits = net(torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)))
    asked = []

    def judged(picture, codec):  # the first frame is good after two exits, the second never
        asked.append(picture)
        return GOOD[codec] if len(asked) == 2 else 0

    monkeypatch.setattr('votes.archs.rbqe_arch.quality', judged)
    frames = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)).unsqueeze(1)
    out = apply(net, {'lq': frames})['out'][:, 0]
    assert len(asked) == 2 + 3
    torch.testing.assert_close(out, torch.stack((exits[1, 0], exits[2, 1])))
