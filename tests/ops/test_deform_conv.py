"""Every usable backend against a float64 reference: values and all five gradients."""

import importlib.util

import pytest
import torch
from torch import Tensor

from votes.errors import UserError
from votes.ops import BACKENDS, backend_problem, deform_conv2d
from votes.ops.deform_conv import choose_backend

USABLE = [name for name in BACKENDS if backend_problem(name) is None]
GEOMETRIES = [
    dict(stride=1, padding=1, dilation=1),
    dict(stride=2, padding=1, dilation=1),
    dict(stride=1, padding=2, dilation=2),
]


def inputs(
    batch=2, channels=4, height=6, width=7, groups=2, spread=2.0, dtype=torch.float64, geometry=GEOMETRIES[0], out=3
):
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    size = [
        (n + 2 * geometry['padding'] - 2 * geometry['dilation'] - 1) // geometry['stride'] + 1 for n in (height, width)
    ]
    made = [
        normal(batch, channels, height, width),
        normal(batch, 18 * groups, *size) * spread,
        normal(batch, 9 * groups, *size).sigmoid(),
        normal(out, channels, 3, 3),
        normal(out),
    ]
    return [t.requires_grad_() for t in made]


def values_and_gradients(tensors, backend, **geometry):
    out = deform_conv2d(*tensors, backend=backend, **geometry)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return [out, *torch.autograd.grad((out * weights).sum(), tensors)]


@pytest.mark.parametrize('geometry', GEOMETRIES, ids=str)
@pytest.mark.parametrize('spread', [0.0, 2.0, 50.0], ids=['zero offsets', 'usual', 'far outside'])
@pytest.mark.parametrize('backend', USABLE)
def test_values_and_gradients(backend, spread, geometry):
    tensors = inputs(spread=spread, geometry=geometry)
    for found, expected in zip(
        values_and_gradients(tensors, backend, **geometry),
        values_and_gradients(tensors, 'reference', **geometry),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_zero_offsets_on_odd_sizes_in_float32():
    # an unpadded grid_sample gets a tenth of these offset gradients wrong
    tensors = inputs(batch=1, height=45, width=61, spread=0.0, dtype=torch.float32)
    exact = [t.detach().double().requires_grad_() for t in tensors]
    found = values_and_gradients(tensors, 'torch', padding=1)
    for ours, expected in zip(found, values_and_gradients(exact, 'reference', padding=1), strict=True):
        torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('backend', ['torch', 'reference'])
def test_a_batch_of_none(backend):
    tensors = inputs(batch=0)
    out, *gradients = values_and_gradients(tensors, backend, padding=1)
    assert out.shape[0] == 0
    assert out.dim() == 4
    assert all(g.shape == t.shape and not g.any() for g, t in zip(gradients, tensors, strict=True))


def test_chunks_do_not_change_the_result(monkeypatch):
    from votes.ops import chunked

    tensors = inputs(batch=3, height=9, width=8)
    whole = values_and_gradients(tensors, 'torch', padding=1)
    monkeypatch.setattr(chunked, 'FORWARD_BYTES', 4 * 9 * 8 * 8 * 2)  # two rows at a time
    for found, expected in zip(values_and_gradients(tensors, 'torch', padding=1), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_chunk_leaves_nothing_to_the_next(monkeypatch):
    from votes.inference.tiles import LiveBytes
    from votes.ops import chunked

    monkeypatch.setattr(chunked, 'FORWARD_BYTES', 1)
    monkeypatch.setattr(chunked, 'MAX_ROW_CHUNKS', 1)  # a chunk an image
    most = []
    for batch in (1, 2, 3):
        out = deform_conv2d(*inputs(batch, height=16, width=16), backend='torch', padding=1)
        with LiveBytes() as live:
            out.sum().backward()
        most.append(live.most)
    assert most[1] - most[0] == most[2] - most[1]  # of an image more: what is returned for it


def test_gradcheck():
    assert torch.autograd.gradcheck(
        lambda *t: deform_conv2d(*t, padding=1, backend='torch'), inputs(1, 2, 4, 5, groups=1)
    )


def test_reference_differentiates_twice():
    assert torch.autograd.gradgradcheck(
        lambda *t: deform_conv2d(*t, padding=1, backend='reference'), inputs(1, 2, 3, 3, groups=1)
    )


def test_without_offsets_it_is_a_convolution():
    x, offset, _, weight, bias = inputs(spread=0.0)
    expected = torch.nn.functional.conv2d(x, weight, bias, padding=1)
    torch.testing.assert_close(deform_conv2d(x, offset, None, weight, bias, padding=1), expected)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_keeps_coordinates(dtype):
    # 500 columns: a coordinate in half precision would be wrong by whole pixels
    tensors = inputs(1, 4, 5, 500, dtype=dtype)
    tensors[1] = tensors[1].float().detach().requires_grad_()
    out = deform_conv2d(*tensors, padding=1, backend='torch')
    expected = deform_conv2d(*[t.double() for t in tensors], padding=1, backend='reference')
    assert out.dtype == dtype
    assert float((out.double() - expected).norm() / expected.norm()) < 5e-3


def test_autocast_leaves_it_in_float32():
    tensors = inputs(dtype=torch.float32)
    expected = deform_conv2d(*tensors, padding=1)
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(deform_conv2d(*tensors, padding=1), expected)


def test_unusable_and_unknown_backends_are_named(monkeypatch):
    with pytest.raises(UserError, match='unknown backend'):
        deform_conv2d(*inputs(), padding=1, backend='cuda-magic')
    if importlib.util.find_spec('mmcv') is None:
        monkeypatch.setenv('VOTES_DEFORM_CONV', 'mmcv')
        with pytest.raises(UserError, match='does not work here'):
            deform_conv2d(*inputs(), padding=1)
    monkeypatch.setenv('VOTES_DEFORM_CONV', 'reference')
    assert choose_backend(None, 'cpu') == 'reference'
    assert choose_backend('torch', 'cpu') == 'torch'


def test_wrong_shapes_are_named():
    x, offset, mask, weight, bias = inputs()
    with pytest.raises(ValueError, match='offset'):
        deform_conv2d(x, offset[:, :-1], mask, weight, bias, padding=1)
    with pytest.raises(ValueError, match='mask'):
        deform_conv2d(x, offset, mask[:, :-1], weight, bias, padding=1)
    with pytest.raises(ValueError, match='weight'):
        deform_conv2d(x, offset, mask, weight[:, :-1], bias, padding=1)
