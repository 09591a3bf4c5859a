"""Cleaning goes on until it changes little: for all clips together, or for each."""

import pytest
import torch

from votes.archs.realbasicvsr_arch import RealBasicVSR


@pytest.mark.parametrize(('by_clip', 'passes'), [(False, (2, 2)), (True, (1, 3))])
def test_when_cleaning_stops(by_clip, passes):
    net = RealBasicVSR(**{**RealBasicVSR.small, 'dynamic_refine_thres': 0.05 * 255}, by_clip=by_clip)
    # takes half of what is there: 0.04 at once little enough, 0.4 after three passes, their mean after two
    net.image_cleaning = torch.nn.Conv2d(3, 3, 1, bias=False)
    with torch.no_grad():
        net.image_cleaning.weight.copy_(-torch.eye(3).view(3, 3, 1, 1) / 2)
    clips = torch.tensor([0.04, 0.3]).view(2, 1, 1, 1, 1).expand(2, 2, 3, 4, 4).contiguous()
    before = clips.clone()
    cleaned = net.cleaned(clips)
    assert torch.equal(clips, before)
    for clip, value, count in zip(cleaned, (0.04, 0.3), passes, strict=True):
        torch.testing.assert_close(clip, torch.full_like(clip, value / 2**count))
