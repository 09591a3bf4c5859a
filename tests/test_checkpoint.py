import contextlib
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from votes import checkpoint
from votes.archs import build_network, load_pretrained, load_weights
from votes.errors import UserError
from votes.registry import NETWORKS

BIN = dict(type='BIN', num_feat=8, num_block=1, num_layer=1, num_grow_ch=4)
VOTES = dict(
    type='VOTES',
    num_feat=8,
    num_extract_block=1,
    num_reconstruct_block=1,
    num_modulation_blocks=1,
    dsm_num_feat=8,
    dsm_num_block=1,
    dsm_num_layer=1,
    dsm_num_grow_ch=4,
)


@pytest.fixture
def net():
    return build_network(BIN)


@pytest.mark.parametrize(
    'form',
    [
        lambda w: w,
        lambda w: {'params': w},
        lambda w: {'params_ema': w, 'params': {}},
        lambda w: {'state_dict': w},
        lambda w: {'params': {f'module.{k}': v for k, v in w.items()}},
    ],
)
def test_forms_of_checkpoints(net, form, tmp_path):
    torch.save(form(net.state_dict()), tmp_path / 'w.pth')
    other = build_network(BIN)
    assert not checkpoint.load_network(other, tmp_path / 'w.pth')
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))


def test_the_dsm_out_of_a_whole_network(net, tmp_path):
    whole = build_network(VOTES)
    checkpoint.save({'params': whole.state_dict()}, tmp_path / 'w.pth')
    checkpoint.load_network(net, tmp_path / 'w.pth', prefix='bin.')
    assert torch.equal(net.model['model1_1'].SFENet1.weight, whole.bin.model['model1_1'].SFENet1.weight)


def test_another_architecture_gives_a_short_table(net, tmp_path):
    checkpoint.save({'params': net.state_dict()}, tmp_path / 'w.pth')
    with pytest.raises(UserError, match='does not fit VOTES') as caught:
        checkpoint.load_network(build_network(VOTES), tmp_path / 'w.pth')
    text = str(caught.value)
    assert 'missing' in text
    assert 'unexpected' in text
    assert 'more' in text
    assert len(text.splitlines()) < 20
    with pytest.raises(UserError, match='other shape') as caught:
        checkpoint.load_network(build_network({**BIN, 'num_feat': 16}), tmp_path / 'w.pth')
    assert 'checkpoint [8' in str(caught.value)


EDSR = {'type': 'EDSR', 'num_feat': 4, 'num_block': 1, 'upscale': 2}


@pytest.mark.parametrize(
    ('other', 'said'),
    [
        ({**EDSR, 'upscale': 4}, ['another size: upscale 4 (here 2)']),
        ({**EDSR, 'num_feat': 8}, ['another size: num_feat 8 (here 4)']),
        ({'type': 'VDSR', 'num_feat': 4, 'num_layer': 2}, ['another network: type VDSR', 'num_layer 2']),
        ({'type': 'BasicVSR', 'num_feat': 4, 'num_block': 1}, ['another network: type BasicVSR']),
        (BIN, ['another network: type BIN']),
    ],
    ids=['scale', 'width', 'another', 'of clips', 'DSM'],
)
def test_what_does_not_fit_is_told_by_name(other, said, tmp_path):
    """Also inside of the wrapper of another program."""
    weights = build_network(other).state_dict()
    wrapped = {'meta': {}, 'state_dict': {f'generator.{key}': value for key, value in weights.items()}}
    for content in ({'params': weights}, wrapped):
        torch.save(content, tmp_path / 'w.pth')
        with pytest.raises(UserError, match='does not fit EDSR') as caught:
            load_weights(build_network(EDSR), tmp_path / 'w.pth')
        assert all(words in str(caught.value) for words in said)


def test_what_a_file_says_of_its_network_counts(tmp_path):
    """By its weights alone, a network around another one may be of several classes."""
    options = {'type': 'Overlap', **NETWORKS.get('Overlap').small}
    torch.save({'params': build_network(options).state_dict(), 'network_g': options}, tmp_path / 'w.pth')
    with pytest.raises(UserError, match='another network: type Overlap'):
        load_weights(build_network(EDSR), tmp_path / 'w.pth')


def test_a_pickled_network_is_told_from_damage(net, tmp_path):
    torch.save(torch.nn.Conv2d(1, 1, 1), tmp_path / 'w.pth')
    with pytest.raises(UserError, match='holds code'):
        checkpoint.load(tmp_path / 'w.pth')


def test_not_strict_loads_what_fits(net, tmp_path):
    weights = net.state_dict()
    weights['extra'] = torch.zeros(1)
    del weights['model.model1_1.SFENet1.bias']
    checkpoint.save({'params': weights}, tmp_path / 'w.pth')
    other = build_network(BIN)
    mismatch = checkpoint.load_network(other, tmp_path / 'w.pth', strict=False)
    assert (mismatch.missing, mismatch.unexpected) == (['model.model1_1.SFENet1.bias'], ['extra'])
    assert torch.equal(other.model['model1_1'].SFENet1.weight, net.model['model1_1'].SFENet1.weight)


class Trap:
    def __reduce__(self):
        return exec, ('raise SystemExit("executed")',)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'cannot be read'),
        (b'<!DOCTYPE html><html>', 'web page'),
        (b'PK\x03\x04 garbage', 'cannot be read'),
        (pickle.dumps(Trap()), 'holds code'),
    ],
)
def test_bad_files(net, content, message, tmp_path):
    (tmp_path / 'w.pth').write_bytes(content)
    with pytest.raises(UserError, match=message):
        checkpoint.load_network(net, tmp_path / 'w.pth')


def test_truncated_nan_and_missing(net, tmp_path):
    checkpoint.save({'params': net.state_dict()}, tmp_path / 'w.pth')
    whole = (tmp_path / 'w.pth').read_bytes()
    (tmp_path / 'half.pth').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match='incomplete'):
        checkpoint.load_network(net, tmp_path / 'half.pth')
    with pytest.raises(UserError, match=r'half\.pth'):
        checkpoint.load_network(net, tmp_path / 'none.pth')
    checkpoint.save({'params': {k: v * float('nan') for k, v in net.state_dict().items()}}, tmp_path / 'nan.pth')
    with pytest.raises(UserError, match='NaN'):
        checkpoint.load_network(net, tmp_path / 'nan.pth')
    checkpoint.save({'iter': 3, 'optimizers': []}, tmp_path / '3.state')
    with pytest.raises(UserError, match='no weights'):
        checkpoint.load_network(net, tmp_path / '3.state')


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / 'w.pth'
    checkpoint.save({'params': {'a': torch.ones(1)}}, path)

    def fill_the_disk():
        with checkpoint.atomic_write(path) as temporary:
            temporary.write_bytes(b'half')
            raise OSError('disk full')

    with pytest.raises(OSError, match='disk full'):
        fill_the_disk()
    assert torch.equal(checkpoint.read_weights(path)['a'], torch.ones(1))
    assert [p.name for p in tmp_path.iterdir()] == ['w.pth']


def test_architecture_from_the_file(tmp_path):
    net = build_network({**VOTES, 'dfm': False}).eval()
    checkpoint.save({'params': net.state_dict(), 'network_g': {**VOTES, 'dfm': False}}, tmp_path / 'ours.pth')
    assert load_pretrained(tmp_path / 'ours.pth').dfm is False
    checkpoint.save({'params': net.state_dict()}, tmp_path / 'release.pth')
    x = torch.rand(1, 5, 3, 8, 8)
    with torch.no_grad():
        assert load_pretrained(tmp_path / 'release.pth')(x).shape == (1, 3, 16, 16)
    checkpoint.save({'params': nn.Linear(2, 2).state_dict()}, tmp_path / 'other.pth')
    with pytest.raises(UserError, match='which network'):
        load_pretrained(tmp_path / 'other.pth')


def test_no_damage_gets_through(tmp_path):
    """Whatever is done to a file, it loads what was written or it is told; nothing else is raised."""
    path = tmp_path / 'w.pth'
    written = {'a': torch.ones(40), 'b': torch.zeros(3, 3)}
    checkpoint.save({'params': written}, path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(256)
        path.write_bytes(data[: rng.integers(1, len(data) + 1)] if rng.random() < 0.3 else data)
        with contextlib.suppress(UserError):
            read = checkpoint.read_weights(path)
            assert all(torch.equal(read[key], value) for key, value in written.items())
    for _ in range(100):
        path.write_bytes(rng.bytes(int(rng.integers(1, 60))))
        with pytest.raises(UserError):
            checkpoint.read_weights(path)
    checkpoint.save({'params': {3: torch.ones(1)}}, path)
    with pytest.raises(UserError, match='no weights'):
        checkpoint.read_weights(path)


def test_a_network_that_fits_into_no_memory(tmp_path):
    options = {'type': 'VDSR', 'num_feat': 2_000_000}
    checkpoint.save({'params': {'a': torch.ones(1)}, 'network_g': options}, tmp_path / 'w.pth')
    with pytest.raises(UserError, match='network VDSR cannot be built'):
        load_pretrained(tmp_path / 'w.pth')


def test_the_average_is_taken_and_told(net, tmp_path):
    checkpoint.save({'params': net.state_dict(), 'params_ema': net.state_dict()}, tmp_path / 'w.pth')
    assert checkpoint.load_network(build_network(BIN), tmp_path / 'w.pth').key == 'params_ema'
    assert checkpoint.load_network(build_network(BIN), tmp_path / 'w.pth', param_key='params').key == 'params'


def test_a_record_of_an_infinite_value_is_whole(tmp_path):
    """A validation of identical pictures has an infinite PSNR; its record is not taken for damaged."""
    content = {'best': {'val': {'psnr': float('inf'), 'ssim': 1.0}}, 'iter': 3}
    checkpoint.write_record(tmp_path / 'validated.json', content)
    assert checkpoint.read_record(tmp_path / 'validated.json') == content
    assert 'Infinity' not in (tmp_path / 'validated.json').read_text()
