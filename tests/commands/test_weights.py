"""The weights that ship: their cards, the verb, and restoring without naming any."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from restore.clips import lossless, moving

import votes
from votes import checkpoint
from votes.archs import load_pretrained
from votes.archs.contract import promise
from votes.cli import main
from votes.commands.weights import page
from votes.errors import UserError
from votes.restore import Settings, suited
from votes.video.read import VideoReader
from votes.weights import DEFAULT, LARGEST, cards, found, shipped

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize('name', cards())
def test_the_card_is_of_its_file(name):
    card = cards()[name]
    assert shipped(name).stat().st_size == card.bytes <= LARGEST
    net = load_pretrained(str(card.path))
    assert type(net).__name__ == card.network['type']
    assert sum(p.numel() for p in net.parameters()) == card.parameters
    assert promise(net).scale == card.scale
    assert (ROOT / card.training['option file'].strip('`')).is_file()
    assert card.data
    assert card.fails
    assert card.licence


def test_the_page_is_that_of_the_cards():
    assert (ROOT / 'docs' / 'weights.md').read_text() == page(cards()), 'votes weights --write docs/weights.md'


def test_the_tables_are_those_that_were_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'benchmarks'))
    import ship_weights

    for file in ship_weights.RESULTS:
        results = json.loads(file.read_text())
        for name, about in results['weights'].items():
            assert about['sha256'] == cards()[name].sha256
            assert cards()[name].measured == ship_weights.tables(about, results)


def result(name):
    return json.loads((ROOT / 'benchmarks' / 'results' / f'{name}.json').read_text())['weights']


def test_what_is_said_of_the_step_that_made_x2_steady():
    rows = result('weights_x2_steady')
    names = list(rows)
    before, after = rows[names[0]]['mean']['val'], rows[names[-2]]['mean']['val']
    cost = {qp: before[qp]['restored']['psnr'] - after[qp]['restored']['psnr'] for qp in ('28', '33')}
    said = cards()['x2'].training['loss']
    assert f'That costs {cost["28"]:.2f} dB at QP 28 and {cost["33"]:.2f} at QP 33' in said
    tested, now = rows[names[1]]['mean']['test'], result('weights_cpu')['x2']['mean']['test']
    cost = {qp: tested[qp]['restored']['psnr'] - now[qp]['restored']['psnr'] for qp in now}
    assert f'{cost["18"]:.2f} dB at QP 18, {cost["28"]:.2f} at QP 28 and {cost["33"]:.2f} at QP 33 on the test' in said
    for by_row in (*after.values(), *result('weights_cpu')['x2']['mean']['test'].values()):
        assert by_row['restored']['warping'] <= by_row['bicubic']['warping']
    whole = rows[names[-1]]['mean']['test']
    gain = sum(whole[qp]['restored']['psnr'] - whole[qp]['bicubic']['psnr'] for qp in ('28', '33')) / 2
    assert f'the mean gain {gain:.2f} dB' in ' '.join(cards()['x2'].data)


def test_x1_does_no_harm():
    clips = result('weights_x1_cpu')['x1']['clips']['test']
    restored = [(qp, rows, rows['restored']['psnr']) for by_qp in clips.values() for qp, rows in by_qp.items()]
    assert {qp for qp, _, _ in restored} == {'12', '18', '23', '28', '33', '42'}
    assert min(psnr - max(rows['input']['psnr'], rows['exact']['psnr']) for _, rows, psnr in restored) >= -0.02
    assert np.mean([psnr - rows['input']['psnr'] for qp, rows, psnr in restored if qp == '33']) >= 0.5


def test_the_strength_of_x1_is_below_what_takes_away_on_any_validation_clip():
    quantisers, shares = zip(*cards()['x1'].strength, strict=True)
    for by_qp in result('weights_x1_whole')['x1, whole']['clips']['val'].values():
        for rows in by_qp.values():  # the squared error is a parabola over the share
            assert np.interp(rows['input']['quantiser'], quantisers, shares) < 2 * rows['restored']['best_share']


def test_the_verb(capsys, tmp_path):
    assert main(['weights']) == 0
    listed = capsys.readouterr().out
    assert all(f'{name} ' in listed for name in cards())
    assert main(['weights', DEFAULT]) == 0
    assert cards()[DEFAULT].sha256 in capsys.readouterr().out
    assert main(['weights', 'x9']) == 2
    near = next(name for name in cards() if len(name) > 4)
    assert main(['restore', 'in.mp4', 'out.mp4', '--weights', near[:-2] + near[-1] + near[-2]]) == 2
    assert near in capsys.readouterr().err
    assert main(['weights', '--write', str(tmp_path / 'cards.md')]) == 0
    assert (tmp_path / 'cards.md').read_text() == page(cards())


def test_restoring_without_naming_weights(tmp_path, capsys):
    lossless(tmp_path / 'in.mp4', moving(3, (32, 48)), codec='libx264', chroma='420')
    assert main(['restore', str(tmp_path / 'in.mp4'), str(tmp_path / 'out.mp4'), '--device', 'cpu']) == 0
    said = capsys.readouterr().out
    assert f'weights: {DEFAULT}, which ship with votes' in said
    assert 'the source is' in said
    assert VideoReader(tmp_path / 'out.mp4').size == (64, 96)
    again = votes.restore(tmp_path / 'in.mp4', tmp_path / 'again.mp4', device='cpu')
    assert again.new_size == (64, 96)


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert found('x2')[1] is not None
    assert found(shipped('x2')) == found('x2')
    Path('x2').touch()
    assert found('x2') == (Path('x2'), None)
    assert found('other.pth') == (Path('other.pth'), None)


def test_what_is_hardly_compressed_is_hardly_touched(tmp_path):
    plain = cards()['x2']
    careful = dataclasses.replace(plain, exact_colour=True, strength=[[20, 0], [30, 1]])
    shares = {}
    for qp in (10, 26, 40):
        made = tmp_path / f'{qp}.mp4'
        noise = np.random.default_rng(0).integers(0, 99, (48, 64, 3))
        lossless(made, [(f // 2 + noise).astype(np.uint8) for f in moving(4)], codec='libx264', chroma='420', qp=qp)
        chosen, said = suited(Settings(strength=0.5), careful, made)
        assert chosen.reading.exact
        assert said == [] if qp == 40 else 'a mean quantiser of' in said[0]
        shares[qp] = chosen.strength
    assert shares[10] == 0
    assert 0 < shares[26] < shares[40] == 0.5
    assert suited(Settings(), plain, made) == suited(Settings(), None, made) == (Settings(), [])
    assert suited(Settings(), careful, tmp_path)[0].strength == 1  # of a folder nothing is known


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / 'cards.json').write_text((Path(votes.__file__).parent / 'weights' / 'cards.json').read_text())
    monkeypatch.setattr('votes.weights.FOLDER', tmp_path)
    checkpoint.save({'params': {'a': torch.zeros(1)}}, tmp_path / 'x2.pth')
    with pytest.raises(UserError, match='others than its card says'):
        shipped('x2')
