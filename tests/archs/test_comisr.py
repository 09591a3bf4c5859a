import torch

from votes.archs import build_network, infer_options
from votes.archs.comisr_arch import SIDE, blurred
from votes.checkpoint import load_network

SMALL = {'type': 'COMISR', 'vsr_scale': 4, 'num_resblock': 2, 'num_feat': 4}


def theirs_of(ours):
    """The authors' variables with the values of a state_dict, and of their optimiser and state."""
    names = {'srnet.conv_in.0': 'input_stage/conv/Conv', 'srnet.conv_out': 'output_stage/conv/Conv'}
    names |= {f'srnet.conv_up.{2 * i - 2}': f'conv_tran2highres/conv_tran{i}/Conv2d_transpose' for i in (1, 2)}
    for i in range(2):
        names |= {f'srnet.resblocks.{i}.conv.{2 * j - 2}': f'resblock_{i + 1}/conv_{j}/Conv' for j in (1, 2)}
    names = {key: f'generator/generator_unit/{name}' for key, name in names.items()}
    for kind in ('encoder', 'decoder'):
        for i in (1, 2, 3):
            for j in (1, 2):
                names[f'fnet.{kind}{i}.{2 * j - 2}'] = f'fnet/autoencode_unit/{kind}_{i}/conv_{j}/Conv'
    names |= {f'fnet.flow.{2 * j - 2}': f'fnet/autoencode_unit/output_stage/conv{j}/Conv' for j in (1, 2)}
    names |= {f'flow_up.{2 * j - 2}': f'fnet/deconv_flow_tran{j}/Conv2d_transpose' for j in (1, 2)}
    names['flow_up.4'] = 'fnet/deconv_flow_conv/Conv'
    found = {'global_step': torch.zeros(()), 'beta1_power': torch.zeros(())}
    for key, value in ours.items():
        scope, kind = key.rsplit('.', 1)
        name = f'{names[scope]}/{"weights" if kind == "weight" else "biases"}'
        value = value.permute(2, 3, 1, 0) if value.ndim == 4 else value
        found[f'{name}/ExponentialMovingAverage'] = value.contiguous()
        found[f'{name}/Adam'] = found[name] = torch.zeros_like(value)
    return found


def test_variables_of_the_authors(tmp_path):
    torch.manual_seed(0)
    net, other = build_network(SMALL), build_network(SMALL)
    torch.save(theirs_of(net.state_dict()), tmp_path / 'comisr.pth')
    assert not load_network(other, tmp_path / 'comisr.pth')
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in net.state_dict().items())
    assert infer_options(theirs_of(net.state_dict())) == SMALL


def test_blur_and_first_frame():
    x = torch.zeros(1, 1, 5, 5)
    x[..., 2, 2] = 1
    taps = torch.tensor([SIDE, 1 - 2 * SIDE, SIDE])
    torch.testing.assert_close(blurred(x)[0, 0, 1:4, 1:4], torch.outer(taps, taps))
    torch.testing.assert_close(taps, torch.tensor([0.3078, 0.3844, 0.3078]), rtol=0, atol=1e-4)
    torch.testing.assert_close(blurred(torch.ones(1, 2, 3, 4)), torch.ones(1, 2, 3, 4))
    net, frame = build_network(SMALL), torch.rand(1, 1, 3, 8, 9)
    torch.testing.assert_close(net(frame)['warped'][0, 0, :, ::4, ::4], frame[0, 0])
