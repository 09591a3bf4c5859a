"""The performance options: each does what it says to speed or memory, and the result stays within its tolerance.

Seconds are measured by benchmarks/train_step.py; here it is bytes kept for the backward pass, layouts and calls.
"""

import copy

import pytest
import torch
from conftest import VDSR
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from votes.archs.contract import Frame, apply
from votes.data import build_train_loader, build_train_set
from votes.models import build_model
from votes.options import load_options

ROOMY = {'datasets__train__batch_size_per_gpu': 4, 'train__optim_g__lr': 1e-4, 'train__scheduler': None}


@pytest.fixture
def trained(place):
    """Trains for three steps; returns the model, its losses, and the bytes kept for the backward pass of a step."""

    def train(model_type='EDVRModel', **changes):
        opt = load_options(place(model_type, **{**ROOMY, **changes}))
        torch.manual_seed(0)
        model = build_model(opt, torch.device('cpu'))
        data = opt.datasets['train']
        dataset = build_train_set(data, opt.scale, 3)
        batches = iter(build_train_loader(dataset, data, 3, accumulate=opt.train.accumulate))
        kept: dict[int, int] = {}
        losses = []

        def keep(tensor):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        for iteration in range(1, 4):
            kept.clear()
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
                outcome = model.step(next(batches), iteration)
            losses.append(float(sum(outcome.terms.values())))
        return model, torch.tensor(losses), sum(kept.values())

    return train


def distance(a, b):
    pairs = list(zip(a.net.parameters(), b.net.parameters(), strict=True))
    with torch.no_grad():
        apart = sum(float((p - q).square().sum()) for p, q in pairs) ** 0.5
        return apart / sum(float(p.square().sum()) for p, _ in pairs) ** 0.5


def test_bf16_needs_less_memory(trained):
    (plain, losses, kept), (half, half_losses, half_kept) = trained(), trained(train__amp='bf16')
    assert half_kept < 0.8 * kept
    assert torch.allclose(losses, half_losses, rtol=5e-3)
    assert distance(plain, half) < 5e-3
    assert all(p.dtype is torch.float32 for p in half.net.parameters())


def test_fp16_scales_its_loss_and_survives_an_overflow(trained):
    _, losses, _ = trained()
    half, half_losses, _ = trained(train__amp='fp16')
    assert torch.allclose(losses, half_losses, rtol=5e-3)
    assert half.generator.scaler.get_scale() > 1
    before = copy.deepcopy(half.net.state_dict())
    half.generator.scaler.update(2.0**60)
    half.generator.scaler._scale.fill_(torch.finfo(torch.float32).max)
    batch = {'lq': torch.randint(0, 255, (4, 5, 3, 8, 8)).byte(), 'gt': torch.randint(0, 255, (4, 3, 16, 16)).byte()}
    assert half.step(batch, 4).finite, 'an overflow of the scale is not a fault of the training'
    assert all(torch.equal(v, before[k]) for k, v in half.net.state_dict().items())
    assert half.generator.scaler.get_scale() < torch.finfo(torch.float32).max


@pytest.mark.parametrize('model_type', ['EDVRModel', 'VOTESModel'])
def test_activation_checkpoint_needs_less_memory(trained, model_type):
    plain, losses, kept = trained(model_type, network_g__num_reconstruct_block=4)
    again, again_losses, again_kept = trained(
        model_type, network_g__num_reconstruct_block=4, train__activation_checkpoint=True
    )
    assert again_kept < 0.6 * kept
    assert torch.equal(losses, again_losses)
    assert distance(plain, again) < 1e-6


class Normalised(torch.nn.Module):
    """Has a part whose normalisation averages over batches."""

    sees = Frame()
    parts = {'body': ('body.',)}

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3, 1, 1), torch.nn.BatchNorm2d(3))
        self.last = torch.nn.Conv2d(3, 3, 3, 1, 1)

    def forward(self, x):
        return self.last(self.body(x))


def test_activation_checkpoint_counts_a_batch_once(trained):
    """What normalisation averages over batches is part of the weights."""
    changes = {'scale': 1, 'network_g': {'type': f'{__name__}:Normalised'}, 'datasets__val': None}
    changes |= {'datasets__train__dataroot_gt': 'lq', 'datasets__train__center_gt': False}
    plain, _, _ = trained(**changes)
    again, _, _ = trained(**changes, train__activation_checkpoint=True)
    for name, value in plain.net.state_dict().items():
        assert torch.equal(value, again.net.state_dict()[name]), name


def test_accumulation_needs_less_memory(trained):
    plain, losses, kept = trained()
    pieces, pieces_losses, pieces_kept = trained(
        datasets__train__batch_size_per_gpu=1, train__accumulate=4, train__amp='none'
    )
    assert torch.allclose(losses, pieces_losses, rtol=1e-5)
    assert distance(plain, pieces) < 1e-5
    assert pieces_kept < kept


@pytest.mark.parametrize('reduction', ['sum', 'mean'])
def test_pieces_are_what_processes_are(place, reduction):
    """P7: a step of two pieces is the step of two processes with a piece each, Adam's moments included."""
    loss = {'type': 'L1Loss', 'reduction': reduction}
    quick = {'network_g': VDSR, 'datasets__train__center_gt': False, 'datasets__train__batch_size_per_gpu': 2}
    quick |= {'train__pixel_opt': loss, 'train__scheduler': None}
    batch = {'lq': torch.rand(4, 5, 3, 8, 8), 'gt': torch.rand(4, 5, 3, 16, 16)}

    def built(**changes):
        opt = load_options(place('EDVRModel', **quick, **changes))
        torch.manual_seed(0)
        return build_model(opt, torch.device('cpu'))

    pieces = built(train__accumulate=2)
    for iteration in (1, 2):
        outcome = pieces.step(batch, iteration)

    ranks = [built(), built()]
    for iteration in (1, 2):
        losses, gradients = [], []
        for rank, model in enumerate(
            ranks
        ):  # what DistributedDataParallel does: gradients are averaged, then all update
            learner = model.generator
            learner.begin(iteration, 1)
            part = {name: value[2 * rank : 2 * rank + 2] for name, value in batch.items()}
            result = learner.forward(part)
            terms = model.losses(result, part)
            sum(terms.values()).backward()
            losses.append(float(sum(terms.values())))
            gradients.append([p.grad for p in learner.named.values()])
        for model in ranks:
            for parameter, *found in zip(model.generator.named.values(), *gradients, strict=True):
                parameter.grad = sum(found) / 2
            model.generator.optimizer.step()
    assert float(sum(outcome.terms.values())) == pytest.approx(sum(losses) / 2, rel=1e-5)
    for name, parameter in pieces.generator.named.items():
        other = ranks[0].generator.named[name]
        assert torch.allclose(parameter, other, rtol=1e-5, atol=1e-7)
        mine, theirs = pieces.generator.optimizer.state[parameter], ranks[0].generator.optimizer.state[other]
        for moment in ('exp_avg', 'exp_avg_sq'):
            assert torch.allclose(mine[moment], theirs[moment], rtol=1e-4, atol=1e-12), (name, moment)


def test_the_average_has_the_buffers_of_the_network(place):
    """Batch normalisation: running means are no parameters, and are taken over as they are."""
    opt = load_options(place('EDVRModel', train__ema_decay=0.9))
    model = build_model(opt, torch.device('cpu'))
    learner = model.generator
    learner.net.register_buffer('running_mean', torch.zeros(3))
    learner.ema.register_buffer('running_mean', torch.zeros(3))
    learner.net.running_mean.fill_(5)
    for parameter in learner.named.values():
        parameter.grad = torch.zeros_like(parameter)
    learner.update(overflow=False)
    assert torch.equal(learner.ema.running_mean, torch.full((3,), 5.0))


def test_channels_last_is_a_layout(trained):
    last, losses, _ = trained()
    first, first_losses, _ = trained(train__channels_last=False)
    weight = 'feature_extraction.0.conv1.weight'
    assert last.net.state_dict()[weight].is_contiguous(memory_format=torch.channels_last)
    assert first.net.state_dict()[weight].is_contiguous()
    assert torch.allclose(losses, first_losses, rtol=1e-5)
    assert distance(last, first) < 1e-4


def test_compile_is_used(trained, monkeypatch):
    calls, graphs = [], []

    def interpreter(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def compiler(runner, **how):
        compiled = torch._dynamo.optimize(interpreter)(runner)

        def run(*args):
            calls.append(1)
            return compiled(*args)

        return run

    plain, losses, _ = trained()
    monkeypatch.setattr(torch, 'compile', compiler)
    compiled, compiled_losses, _ = trained(train__compile=True)
    assert len(calls) == 4 * 2, 'a trial, then three steps, of two residual blocks'
    assert len(graphs) <= 2, 'they share what is compiled; batches of frames and of windows differ'
    with compiled.predicting() as net, torch.no_grad():
        apply(net, {'lq': torch.rand(1, 5, 3, 20, 28)})
    assert len(graphs) <= 2, 'frames to validate on are of any size: they are not compiled for'
    assert torch.allclose(losses, compiled_losses, rtol=1e-5)
    assert distance(plain, compiled) < 1e-4


def test_compile_falls_back_with_a_notice(trained, monkeypatch):
    def broken(runner, **how):
        def run(*args):
            raise RuntimeError('no C++ compiler found')

        return run

    monkeypatch.setattr(torch, 'compile', broken)
    model, losses, _ = trained(train__compile=True)
    assert 'notice: train.compile does not work here: no C++ compiler found' in model.messages
    monkeypatch.undo()
    assert torch.isfinite(losses).all()


def test_gradient_clipping(trained, monkeypatch):
    """Without Adam's normalisation in the way: what reaches the optimiser has at most this norm."""
    norms = []
    original = torch.optim.Adam.step

    def step(self, *args, **kwargs):
        gradients = [p.grad for group in self.param_groups for p in group['params'] if p.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, 'step', step)
    trained()
    free = list(norms)
    norms.clear()
    limit = min(free) / 2
    trained(train__grad_clip=limit)
    assert max(norms) <= limit * 1.0001
    assert min(free) > limit


def test_moving_average(place):
    opt = load_options(place('EDVRModel', **ROOMY, train__ema_decay=0.75))
    model = build_model(opt, torch.device('cpu'))
    data = opt.datasets['train']
    batches = iter(build_train_loader(build_train_set(data, 2, 3), data, 3))
    expected = [p.detach().clone() for p in model.net.parameters()]
    for iteration in range(1, 4):
        model.step(next(batches), iteration)
        expected = [0.75 * e + 0.25 * p.detach() for e, p in zip(expected, model.net.parameters(), strict=True)]
    ema = list(model.generator.ema.parameters())
    assert all(torch.allclose(e, p, atol=1e-7) for e, p in zip(expected, ema, strict=True))
    window = torch.rand(1, 5, 3, 8, 8)
    model.generator.ema.eval()
    with torch.no_grad():
        assert model.best_net is model.generator.ema, 'it is what predicts'
        assert torch.isfinite(model.best_net(window)).all()


def test_fused_adam(trained):
    plain, losses, _ = trained()
    fused, fused_losses, _ = trained(train__optim_g={'type': 'Adam', 'lr': 1e-4, 'fused': True})
    assert fused.generator.optimizer.param_groups[0]['fused']
    assert torch.allclose(losses, fused_losses, rtol=1e-5)
    assert distance(plain, fused) < 1e-6


def test_learning_rates_of_modules(trained):
    model, _, _ = trained(
        train__dcn_lr_mul=0.5, train__lr_mul={'pcd_align.': 0.1, 'pcd_align.cas_': 0.2, 'conv_first.': 0}
    )
    rates = {id(p): group['lr'] for group in model.generator.optimizer.param_groups for p in group['params']}
    found = {name: rates[id(p)] for name, p in model.net.named_parameters()}
    assert found['conv_hr.weight'] == pytest.approx(1e-4)
    assert found['pcd_align.feat_conv.l1.weight'] == pytest.approx(1e-5)
    assert found['pcd_align.dcn_pack.l1.weight'] == pytest.approx(0.5e-5)
    assert found['pcd_align.cas_offset_conv1.weight'] == pytest.approx(2e-5)
    assert found['pcd_align.cas_dcnpack.weight'] == pytest.approx(1e-5)
    assert found['conv_first.weight'] == 0
    assert model.generator.learning_rate(3) == pytest.approx(1e-4)


def test_no_value_is_waited_for(place):
    """On tensors without values, forward, losses and gradients go through: nothing asks the device for a number."""
    model = build_model(load_options(place('VOTESModel')), torch.device('cpu'))
    weights = model.net.state_dict()
    with FakeTensorMode() as mode:
        fakes = {name: mode.from_tensor(t) for name, t in weights.items()}
        trained = [fakes[name].requires_grad_() for name in model.generator.named]
        model.generator.runner = lambda *inputs: torch.func.functional_call(model.net, fakes, inputs)
        piece = {'lq': torch.zeros(2, 5, 3, 16, 16), 'gt': torch.zeros(2, 1, 3, 32, 32)}
        result = model.generator.forward(piece)
        terms = model.losses(result, piece)
        sum(terms.values()).backward()
        assert result['out'].shape == piece['gt'].shape
        assert all(p.grad is not None for p in trained)
        assert model.offset_means()
        with pytest.raises(DataDependentOutputException):
            terms['l_pix'].item()


def test_twenty_steps_of_both_operators(place, monkeypatch):
    """The operator that trains and its slow twin, from offsets that are not zero."""
    runs = []
    for backend in ('torch', 'reference'):
        monkeypatch.setenv('VOTES_DEFORM_CONV', backend)
        opt = load_options(place('EDVRModel', train__scheduler=None))
        torch.manual_seed(0)
        model = build_model(opt, torch.device('cpu'))
        for name, parameter in model.net.named_parameters():
            if 'conv_offset' in name:
                torch.nn.init.normal_(parameter, 0, 0.1)
        batches = iter(build_train_loader(build_train_set(opt.datasets['train'], 2, 3), opt.datasets['train'], 3))
        runs.append([float(model.step(next(batches), i).terms['l_pix']) for i in range(1, 21)])
    torch_run, twin = map(torch.tensor, runs)
    assert (torch_run - twin).abs().max() < 1e-4
    assert twin[-1] < twin[0] - 1e-3, 'something was learned'
