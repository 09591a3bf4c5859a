"""Run by test_fused.py with TRITON_INTERPRET=1: the kernels on the CPU. Prints one JSON object."""

import json
import os
import sys

import torch
from torch.utils.flop_counter import FlopCounterMode

from votes.ops import deform_conv2d, fused, reference

CASES = {  # batch, channels, out, groups, height, width, stride, padding, dilation, masked
    'usual': (1, 16, 16, 2, 6, 7, 1, 1, 1, True),
    'groups and channels that are no powers of two': (2, 24, 20, 3, 5, 6, 1, 1, 1, True),
    'one group': (1, 16, 16, 1, 5, 5, 1, 1, 1, True),
    'stride, no mask': (1, 16, 8, 8, 6, 6, 2, 1, 1, False),
    'dilation': (1, 32, 16, 8, 5, 5, 1, 2, 2, True),
    'many channels': (1, 64, 64, 8, 4, 5, 1, 1, 1, True),
}


def inputs(batch, channels, out, groups, height, width, stride, padding, dilation, masked, spread=2.0):
    torch.manual_seed(0)
    size = [(n + 2 * padding - 2 * dilation - 1) // stride + 1 for n in (height, width)]
    made = [
        torch.randn(batch, channels, height, width),
        torch.randn(batch, 18 * groups, *size) * spread,
        torch.rand(batch, 9 * groups, *size) if masked else None,
        torch.randn(out, channels, 3, 3) / 10,
        torch.randn(out),
    ]
    return made, (stride, padding, dilation)


def gradients(function, tensors, how, dtype):
    own = [None if t is None else t.to(dtype).requires_grad_() for t in tensors]
    out = function(*own, *how)
    weights = torch.linspace(-1, 1, out.numel()).view(out.shape).to(dtype)
    return [out, *torch.autograd.grad(out, [t for t in own if t is not None], weights)]


def distance(found, expected):
    return [float((a.double() - b).norm() / b.norm().clamp_min(1e-12)) for a, b in zip(found, expected, strict=True)]


def main():
    said = {}
    for name, case in CASES.items():
        tensors, how = inputs(*case)
        expected = gradients(reference.deform_conv2d, tensors, how, torch.float64)
        said[name] = distance(gradients(fused.deform_conv2d, tensors, how, torch.float32), expected)
    tensors, how = inputs(*CASES['usual'])
    expected = gradients(reference.deform_conv2d, tensors, how, torch.float64)
    zeros = [tensors[0], tensors[1] * 0, *tensors[2:]]
    said['zero offsets'] = distance(
        gradients(fused.deform_conv2d, zeros, how, torch.float32),
        gradients(reference.deform_conv2d, zeros, how, torch.float64),
    )
    half = [None if t is None else t.half() for t in tensors]
    half[1] = tensors[1].half()
    said['half precision'] = distance(
        gradients(fused.deform_conv2d, half, how, torch.float16),
        gradients(reference.deform_conv2d, half, how, torch.float64),
    )
    torch.use_deterministic_algorithms(True)
    fixed = gradients(fused.deform_conv2d, tensors, how, torch.float32)
    said['fixed point'] = distance(fixed, expected)
    again = gradients(fused.deform_conv2d, tensors, how, torch.float32)
    said['fixed point again'] = [float((a - b).abs().max()) for a, b in zip(fixed, again, strict=True)]
    torch.use_deterministic_algorithms(False)

    wild = [t.clone() for t in tensors]
    wild[1][0, 0, 0, 0], wild[1][0, 1, 1, 1], wild[1][0, 2, 2, 2] = float('nan'), 1e30, -float('inf')
    out = fused.deform_conv2d(*wild, *how)
    said['wild offsets stay finite'] = [float(not out.isfinite().all())]

    # the offset convolution with it, in another order of channels; sigmoid inside; mean |offset|
    x, offset, mask, weight, bias = tensors
    guided = [torch.randn(x.shape), torch.randn(54, 16, 3, 3) / 6, torch.randn(54)]
    own = [t.clone().requires_grad_() for t in guided]
    out, mean = fused.deform_conv2d_guided(x, *own, weight, bias)
    plain = [t.double().requires_grad_() for t in guided]
    raw = torch.nn.functional.conv2d(*plain, padding=1)
    wanted = reference.deform_conv2d(
        x.double(), raw[:, :36], raw[:, 36:].sigmoid(), weight.double(), bias.double(), *how
    )
    gradients_of = [torch.autograd.grad(o.square().sum(), t) for o, t in ((out, own), (wanted, plain))]
    said['with the offset convolution'] = distance([out, *gradients_of[0]], [wanted, *gradients_of[1]])
    said['mean of offsets'] = [abs(float(mean - raw[:, :36].abs().mean()))]
    raw = torch.cat((offset, torch.logit(mask.clamp(1e-4, 1 - 1e-4))), 1)

    # the operator is not opaque to torch's count of arithmetic: products of 6x7 pixels, forward and two backward
    with FlopCounterMode(display=False) as counted:
        gradients(fused.deform_conv2d, tensors, how, torch.float32)
    said['arithmetic'] = [abs(counted.get_total_flops() / (3 * 2 * 9 * 16 * 16 * 42) - 1)]

    args = [t.detach().requires_grad_() for t in (x.permute(0, 2, 3, 1), raw.permute(0, 2, 3, 1), weight, bias)]
    torch.library.opcheck(
        fused.deform_conv,
        (*args, 2, 1, 1, 1, True, False),
        test_utils=('test_schema', 'test_faketensor', 'test_autograd_registration'),
    )
    compiled = torch.compile(
        lambda *t: deform_conv2d(*t, padding=1, backend='triton'), fullgraph=True, backend='aot_eager'
    )
    said['compiled'] = distance([compiled(*tensors)], [expected[0]])
    said['training'] = training(int(os.environ.get('STEPS', 2)))
    print(json.dumps(said))


def training(steps, device='cpu'):
    """Steps of a small VOTES: by how much losses and mean |offset| differ from those of the torch backend."""
    from votes.archs.votes_arch import VOTES

    runs = []
    for backend in ('torch', 'triton'):
        os.environ['VOTES_DEFORM_CONV'] = backend
        torch.manual_seed(1)
        net = VOTES(
            num_feat=16, deformable_groups=2, num_extract_block=1, num_reconstruct_block=1, num_modulation_blocks=1,
            dsm_num_feat=4, dsm_num_block=1, dsm_num_layer=1, dsm_num_grow_ch=2,
        )  # fmt: skip
        for name, parameter in net.named_parameters():
            if 'conv_offset' in name:
                torch.nn.init.normal_(parameter, 0, 0.1)
        net.to(device)
        optimiser = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.05)
        x, gt = torch.rand(1, 5, 3, 4, 4).to(device), torch.rand(1, 3, 8, 8).to(device)
        values = []
        for _ in range(steps):
            loss = (net(x) - gt).abs().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            values += [float(loss.detach()), float(net.pcd_align.cas_dcnpack.offset_mean)]
        runs.append(values)
    return [max(abs(a - b) for a, b in zip(*runs, strict=True))]


if __name__ == '__main__':
    sys.exit(main())
