"""Folders for hubs of models, and a hub: downloads against a server on this machine."""

import hashlib
import http.server
import json
import threading
from pathlib import Path

import pytest
import torch
import yaml
from conftest import VDSR

import votes
from votes import checkpoint
from votes.archs import build_network
from votes.cli import main
from votes.errors import UserError
from votes.export import download

NETWORK = {'type': 'VDSR', 'num_feat': 4, 'num_layer': 2, 'upscale': 2}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run folder as training leaves it, and the network that it trained."""
    monkeypatch.chdir(tmp_path)
    assert NETWORK == VDSR
    torch.manual_seed(4)
    net = build_network(NETWORK).eval()
    folder = Path('experiments/mine')
    checkpoint.save({'params': net.state_dict(), 'network_g': NETWORK}, folder / 'models' / 'net_g_best.pth')
    options = {
        'name': 'mine',
        'manual_seed': 7,
        'datasets': {'train': {'name': 'REDS', 'gt_size': 96, 'batch_size_per_gpu': 4}},
        'train': {'total_iter': 500, 'optim_g': {'type': 'Adam', 'lr': 2e-4}, 'pixel_opt': {'type': 'L1Loss'}},
        'val': {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 2, 'test_y_channel': True}}},
    }
    (folder / 'options.yml').write_text(yaml.safe_dump(options))
    rows = [
        {'kind': 'train', 'iter': 100, 'loss': 1.0},
        {'kind': 'REDS4', 'iter': 100, 'restored_psnr': 30.25, 'bicubic_psnr': 30.0},
        {'kind': 'REDS4', 'iter': 200, 'restored_psnr': 31.5, 'bicubic_psnr': 30.0},
    ]
    (folder / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, rows)) + '\n{"kind": "cut off')
    assert main(['export', str(folder / 'models' / 'net_g_best.pth'), '--to', 'safetensors', '-o', 'card']) == 0
    return net


def same(net, other):
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        return torch.equal(net(x), other(x))


def test_a_folder_for_a_hub(run):
    assert same(run, votes.from_pretrained('card'))
    card = Path('card/README.md').read_text()
    head = yaml.safe_load(card.split('---')[1])
    assert head['library_name'] == 'votes'
    for text in ('# mine', 'VDSR', '| data | REDS |', '| iterations | 500 |', '| seed | 7 |', 'Adam (lr 0.0002)'):
        assert text in card
    assert 'On `REDS4` after iteration 200, Y, 2 pixels cropped' in card
    assert '| restored, psnr | 31.5000 |' in card
    from safetensors import safe_open

    with safe_open('card/model.safetensors', 'pt') as file:
        assert json.loads(file.metadata()['votes'])['network'] == NETWORK
    config = json.loads(Path('card/config.json').read_text())
    assert config['weights_sha256'] == checkpoint.sha256('card/model.safetensors')
    assert main(['export', 'experiments/mine/models/net_g_best.pth', '--to', 'safetensors', '-o', 'card']) == 2
    assert main(['export', 'card', '--to', 'safetensors', '-o', 'again.safetensors']) == 0
    assert checkpoint.read_safetensors('again.safetensors').keys() == run.state_dict().keys()


def test_folders_that_are_none(run):
    Path('card/config.json').write_text(json.dumps({'network': {**NETWORK, 'num_feat': 8}}))
    with pytest.raises(UserError, match='not those of VDSR'):
        votes.from_pretrained('card')
    Path('card/config.json').write_text('{"architectures": ["GPT"]}')
    with pytest.raises(UserError, match='no network of this project'):
        votes.from_pretrained('card')
    with pytest.raises(UserError, match='no such folder'):
        votes.from_pretrained('nothing here')


class Hub(http.server.BaseHTTPRequestHandler):
    """What a hub answers: small files itself, weights by a redirection to another host that wants no token."""

    asked: list
    damage = {}

    def do_GET(self):
        Hub.asked.append((self.path, self.headers.get('Authorization')))
        what = Hub.damage.get(self.path.rsplit('/', 1)[-1])
        if what == 'broken' and sum(path == self.path for path, _ in Hub.asked) == 1:
            self.send_response(503)
            self.end_headers()
            return
        name = self.path.rsplit('/', 1)[-1]
        path = Path('card') / name
        if not self.path.startswith(('/owner/net/resolve/main/', '/storage/')) or not path.is_file():
            self.send_response(404)
            self.end_headers()
            return
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if name == 'model.safetensors' and not self.path.startswith('/storage/'):
            self.send_response(302)
            self.send_header('Location', f'http://localhost:{self.server.server_port}/storage/{name}')
            self.send_header('X-Linked-Etag', f'"{digest}"')
            self.send_header('X-Linked-Size', str(len(content)))
            self.end_headers()
            return
        if what == 'damaged':
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.send_response(200)
        self.send_header('Content-Length', str(len(content)))
        self.send_header('ETag', f'"{digest[:40]}"')
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if what == 'short' else content)

    def log_message(self, *args):
        return


@pytest.fixture
def hub(monkeypatch, tmp_path):
    Hub.asked, Hub.damage = [], {}
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv('HF_ENDPOINT', f'http://127.0.0.1:{server.server_port}')
    monkeypatch.setenv('VOTES_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(download, 'WAIT', 0.01)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_network_from_a_hub(run, hub, monkeypatch):
    monkeypatch.setenv('HF_TOKEN', 'secret')
    assert same(run, votes.from_pretrained('owner/net'))
    tokens = {path.split('/')[1]: token for path, token in Hub.asked}
    assert tokens == {'owner': 'Bearer secret', 'storage': None}, 'another host gets no token'
    before = (Path('cache/hub/owner--net/main/model.safetensors')).stat().st_mtime_ns
    assert same(run, votes.from_pretrained('owner/net')), 'not downloaded again'
    assert Path('cache/hub/owner--net/main/model.safetensors').stat().st_mtime_ns == before
    hub.shutdown()
    hub.server_close()
    with pytest.warns(UserWarning, match='cannot be reached'):
        assert same(run, votes.from_pretrained('owner/net'))


@pytest.mark.parametrize('damage', ['damaged', 'short'])
def test_a_damaged_download_is_not_kept(damage, run, hub):
    Hub.damage = {'model.safetensors': damage}
    with pytest.raises(UserError, match=r'damaged|cannot be reached'):
        votes.from_pretrained('owner/net')
    assert not list(Path('cache').rglob('*.safetensors'))
    Hub.damage = {}
    assert same(run, votes.from_pretrained('owner/net'))


def test_a_hub_that_answers_late_or_not_at_all(run, hub, monkeypatch):
    Hub.damage = {'config.json': 'broken'}
    assert same(run, votes.from_pretrained('owner/net')), 'asked once more'
    with pytest.raises(UserError, match='is not there'):
        votes.from_pretrained('owner/other')
    with pytest.raises(UserError, match='no name of a revision'):
        votes.from_pretrained('owner/net', revision='../../x')
    config = json.loads(Path('card/config.json').read_text())
    config['network']['type'] = 'os:system'
    Path('card/config.json').write_text(json.dumps(config))
    with pytest.raises(UserError, match='names code of its own'):
        votes.from_pretrained('owner/net')
