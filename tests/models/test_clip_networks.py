"""Training networks that see whole clips: BasicSR's keys for the flow network, and memory by parts."""

import torch

from votes import checkpoint
from votes.archs import build_network
from votes.archs.contract import promise
from votes.data import build_train_set
from votes.models import build_model
from votes.options import load_options

BASICVSR = {'type': 'BasicVSR', 'num_feat': 8, 'num_block': 6, 'scale': 2}


def built(place, **changes):
    about = {'network_g': BASICVSR, 'datasets__train__center_gt': False, **changes}
    torch.manual_seed(0)
    return build_model(load_options(place('EDVRModel', **about)), torch.device('cpu'))


def batch(count=1, frames=4, side=8, scale=2):
    generator = torch.Generator().manual_seed(1)
    lq = torch.rand(count, frames, 3, side, side, generator=generator)
    return {'lq': lq, 'gt': torch.rand(count, frames, 3, scale * side, scale * side, generator=generator)}


def test_basicsr_keys_of_the_flow_network(place):
    place()
    flow = build_network({'type': 'SpyNet'})
    bare = {key: value for key, value in flow.state_dict().items() if key.startswith('basic_module')}
    checkpoint.save({'params': bare}, 'spynet.pth')
    network = {**BASICVSR, 'spynet_path': 'spynet.pth'}
    model = built(place, network_g=network, train__fix_flow=1, train__flow_lr_mul=0.125)
    before = {key: value.clone() for key, value in model.net.spynet.state_dict().items()}
    assert all(torch.equal(before[key], value) for key, value in bare.items())
    model.step(batch(), 1)
    assert all(torch.equal(before[key], value) for key, value in model.net.spynet.state_dict().items())
    model.step(batch(), 2)
    assert not torch.equal(
        before['basic_module.5.basic_module.0.weight'], model.net.spynet.basic_module[5].basic_module[0].weight
    )
    assert sorted(group['lr_mul'] for group in model.generator.optimizer.param_groups) == [0.125, 1]


def kept_by(model):
    """Bytes kept for the backward pass, and the gradients' norm."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        result = model.generator.forward(batch(side=32))
    sum(value.square().mean() for value in result.values()).backward()
    return sum(kept.values()), torch.nn.utils.get_total_norm(
        [p.grad for p in model.net.parameters() if p.grad is not None]
    )


def test_recomputing_parts_saves_memory(place):
    rest = {'flow': {'freeze': True}}
    plain, norm = kept_by(built(place, train__parts=rest))
    again, same = kept_by(built(place, train__parts={**rest, 'propagation': {'recompute': True}}))
    assert again < 0.8 * plain
    torch.testing.assert_close(norm, same)
    model = built(place, train__activation_checkpoint=True)
    every, whole = kept_by(model)
    assert every < plain
    # that of flow comes on top; it is too small to be seen in the norm
    torch.testing.assert_close(norm, whole)
    assert any(bool(parameter.grad.any()) for parameter in model.net.spynet.parameters())


def test_adversarial_training(place):
    """Generator and discriminator learn from each other; the discriminator alone at first; both are resumed."""
    changes = {
        'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4},
        'train__optim_d': {'type': 'Adam', 'lr': 1e-3},
        'train__gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.05},
        'train__net_d_init_iters': 1,
        'train__parts': {'flow': {'freeze': True}},
    }
    model = built(place, **changes)
    before = {key: value.clone() for key, value in model.net.state_dict().items()}
    judge = {key: value.clone() for key, value in model.net_d.state_dict().items()}
    first = model.step(batch(side=8), 1)
    assert set(first.terms) == {'l_gan_d_real', 'l_gan_d_fake'}
    assert all(torch.equal(before[key], value) for key, value in model.net.state_dict().items())
    second = model.step(batch(side=8), 2)
    assert set(second.terms) == {'l_pix', 'l_gan', 'l_gan_d_real', 'l_gan_d_fake'}
    changed = {key for key, value in model.net_d.state_dict().items() if not torch.equal(value, judge[key])}
    assert changed == set(judge)
    assert not torch.equal(before['conv_last.weight'], model.net.conv_last.weight)
    state = model.state()
    files = {}
    for name, content in model.weights().items():
        files[name] = f'{name}.pth'
        checkpoint.save(content, files[name])
    other = built(place, **changes)
    other.resume(files, state)
    third, again = model.step(batch(side=8), 3), other.step(batch(side=8), 3)
    assert all(torch.equal(value, again.terms[name]) for name, value in third.terms.items())


def test_clips_have_neighbours_unless_told(place):
    """A network that takes single frames too is not trained on them by default: its flow would learn nothing."""
    opt = load_options(place('EDVRModel', network_g=BASICVSR, datasets__train__center_gt=False))
    said = promise(build_network(BASICVSR))
    assert said.frames() == 1
    assert build_train_set(opt.datasets['train'], opt.scale, 0, said).num_frame == 5
