"""What the training task makes of VOTES, EDVR and BIN: one step, what it trains, what it predicts, what it saves."""

import pytest
import torch
from conftest import VDSR

from votes.archs.contract import apply
from votes.data import build_test_set, build_train_loader, build_train_set
from votes.errors import UserError
from votes.inference.evaluation import evaluate
from votes.models import build_model
from votes.options import Spec, load_options
from votes.registry import MODELS, NETWORKS


@pytest.fixture(params=['DSMModel', 'VOTESModel', 'EDVRModel'])
def model_type(request):
    return request.param


def built(place, model_type, **changes):
    opt = load_options(place(model_type, **changes))
    return opt, build_model(opt, torch.device('cpu'))


def batches(opt, said=None):
    dataset = build_train_set(opt.datasets['train'], opt.scale, opt.manual_seed, said)
    return iter(build_train_loader(dataset, opt.datasets['train'], opt.manual_seed))


def test_steps_lower_the_loss_on_one_batch(place, model_type):
    opt, model = built(place, model_type, train__total_iter=40, train__scheduler=None, train__optim_g__lr=5e-3)
    batch = next(batches(opt))
    losses = [float(sum(model.step(batch, i).terms.values())) for i in range(1, 31)]
    assert min(losses[-5:]) < 0.95 * losses[0]


def test_only_what_trains_changes(place, model_type):
    opt, model = built(place, model_type)
    before = {k: v.clone() for k, v in model.net.state_dict().items()}
    model.step(next(batches(opt)), 1)
    changed = {k for k, v in model.net.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert not any(k.startswith('bin.') for k in changed), 'the DSM is frozen in stage 2'
    optimised = {id(p) for group in model.generator.optimizer.param_groups for p in group['params']}
    assert {k for k, p in model.net.named_parameters() if id(p) in optimised} >= changed
    assert not any(id(p) in optimised for k, p in model.net.named_parameters() if k.startswith('bin.'))


def test_learning_rate_follows_schedule_warm_up_and_multiplier(place):
    _, model = built(place, 'EDVRModel', train__warmup_iter=2, train__dcn_lr_mul=0.5, train__scheduler__eta_min=0)
    rates = []
    for i in range(1, 5):
        model.generator.learning_rate(i)
        rates.append([group['lr'] for group in model.generator.optimizer.param_groups])
    cosine = [1e-3 * (1 + torch.cos(torch.tensor(torch.pi * i / 4)).item()) / 2 for i in range(4)]
    wanted = [cosine[0] / 2, *cosine[1:]]
    assert [r[0] for r in rates] == pytest.approx(wanted)
    assert [r[1] for r in rates] == pytest.approx([w / 2 for w in wanted])


def test_tsa_trains_alone_at_first(place):
    opt, model = built(place, 'EDVRModel', train__tsa_iter=1)
    before = {k: v.clone() for k, v in model.net.state_dict().items()}
    data = batches(opt)
    model.step(next(data), 1)
    changed = {k for k, v in model.net.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all(k.startswith('fusion.') for k in changed)
    model.step(next(data), 2)
    assert any(not torch.equal(v, before[k]) for k, v in model.net.state_dict().items() if k.startswith('conv_first'))


@pytest.mark.parametrize('size', [(16, 16), (13, 18), (3, 5)])
def test_predicts_frames_of_any_size(place, model_type, size):
    opt, model = built(place, model_type)
    with model.predicting() as net, torch.no_grad():
        output = apply(net, {'lq': torch.rand(1, 5, 3, *size)})['out'][:, 0]
    factor = 1 if model_type == 'DSMModel' else opt.scale
    assert output.shape == (1, 3, size[0] * factor, size[1] * factor)
    assert model.net.training, 'training goes on after a prediction'


def test_the_gain_is_measured_against_the_compressed_input(place):
    opt, model = built(place, 'EDVRModel')
    batch = next(batches(opt))
    piece = model.sample_of(batch)
    gt, bicubic = piece['gt'], model.baselines(piece['lq'][:, 2])['bicubic'].unsqueeze(1)
    assert float(model._gain({**piece, 'result': {'out': bicubic}})) == pytest.approx(0, abs=0.2)  # clamped
    half_way = bicubic + 0.5 * (gt - bicubic)
    assert float(model._gain({**piece, 'result': {'out': half_way}})) == pytest.approx(6.02, abs=0.3)


def test_something_must_be_trained(place, monkeypatch):
    network = {'type': 'VDSR', 'num_feat': 4, 'num_layer': 2, 'upscale': 2}
    about = {'network_g': network, 'datasets__train__center_gt': False, 'train__parts': {'all': {'freeze': 5}}}
    monkeypatch.setattr(NETWORKS.get('VDSR'), 'parts', {'all': ('',)}, raising=False)
    with pytest.raises(UserError, match='nothing of VDSR is trained at first'):
        built(place, 'EDVRModel', **about)


def test_moments_of_other_groups_are_refused(place):
    """Optimisers number their parameters: with other groups the moments of one would go to another."""
    _, model = built(place, 'EDVRModel', train__lr_mul={'fusion.': 0.1})
    _, other = built(place, 'EDVRModel', train__lr_mul={'conv_first.': 0.1})
    state = model.generator.optimizer.state_dict()
    model.generator.load_state(state, None)
    with pytest.raises(UserError, match='other groups of parameters'):
        other.generator.load_state(state, None)


def test_frames_are_measured_against_gt_whatever_losses_compare(place):
    losses = {'l_sharp': {'type': 'L1Loss', 'target': 'gt_sharp'}}
    file = place('EDVRModel', train__pixel_opt=None, train__losses=losses)
    gt = torch.rand(3, 32, 32)
    assert torch.equal(build_model(load_options(file), torch.device('cpu')).target(gt), gt)
    assert build_model(load_options(place('DSMModel')), torch.device('cpu')).target(gt).shape == (3, 16, 16)


def test_metrics_that_do_not_round_are_given_what_the_network_gave(place):
    """White by 8 bits is no white where it is measured as floats: MFQE's protocol clamps nothing."""
    opt, model = built(place, 'EDVRModel', network_g=VDSR, datasets__train__center_gt=False)
    with torch.no_grad():
        list(model.net.parameters())[-1].fill_(2.0)
    dataset = build_test_set(opt.datasets['val'], opt.scale, model.said)
    about = {'type': 'calculate_psnr', 'crop_border': 0}
    found = evaluate(model, dataset, 'val', {'shown': Spec(**about), 'given': Spec(**about, rounding='none')})
    assert found.mean('restored', 'given') < found.mean('restored', 'shown') - 1
    assert found.mean('bicubic', 'given') == pytest.approx(found.mean('bicubic', 'shown'), abs=0.1)


@pytest.mark.parametrize('name', MODELS.names())
def test_every_name_of_the_task(place, name):
    model = build_model(load_options(place('EDVRModel'), overrides=[f'model_type={name}']), torch.device('cpu'))
    assert model.said.name == 'EDVR'


def test_dsm_of_a_whole_votes(place):
    """bin_model may be a stage-1 checkpoint or a whole VOTES."""
    from votes import checkpoint

    _, first = built(place, 'VOTESModel')
    checkpoint.save({'params': first.net.state_dict()}, 'whole.pth')
    _, second = built(place, 'VOTESModel', path__bin_model='whole.pth')
    assert all(torch.equal(a, b) for a, b in zip(first.net.bin.parameters(), second.net.bin.parameters(), strict=True))


def test_a_whole_votes_keeps_its_own_dsm(place):
    """bin_model is where stage 2 starts; weights that have a DSM were trained with that one."""
    from votes import checkpoint

    _, first = built(place, 'VOTESModel')
    whole = {k: v + 0.25 for k, v in first.net.state_dict().items()}
    checkpoint.save({'params': whole}, 'whole.pth')
    _, second = built(place, 'VOTESModel', path__pretrain_network_g='whole.pth')
    assert all(torch.equal(v, whole[k]) for k, v in second.net.state_dict().items())
