"""The page of `votes app` as programs see it: strangers, tricks, too much of everything, and a restart."""

import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from conftest import TINY_DSM, VDSR
from restore.clips import frames_of, lossless, moving

from votes import checkpoint
from votes.app.catalogue import Catalogue
from votes.app.decoder import PATIENCE, Decoder
from votes.app.jobs import Jobs
from votes.app.routes import App, plain_name
from votes.app.server import Server
from votes.archs import build_network
from votes.cli import main
from votes.commands.app import shipped
from votes.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with in.mp4 and weights/w.pth of a small network."""
    monkeypatch.chdir(tmp_path)
    lossless(tmp_path / 'in.mp4', moving(20), codec='libx264', chroma='420')
    Path('weights').mkdir()
    torch.manual_seed(0)
    for name, options in (('w', VDSR), ('dsm', {'type': 'BIN', **TINY_DSM})):
        checkpoint.save({'params': build_network(options).state_dict(), 'network_g': options}, f'weights/{name}.pth')
    return tmp_path


class Page:
    """What a program does with the page at an address."""

    def __init__(self, address):
        self.host, _, token = address.removeprefix('http://').rstrip('/').partition('/')
        self.base = f'/{token}/'

    def ask(self, method, path, body=None, token=None, **headers):
        """Status, headers and content of an answer; headers are named as Content_Type."""
        connection = http.client.HTTPConnection(self.host, timeout=PATIENCE + 30)
        given = {name.replace('_', '-'): value for name, value in headers.items()}
        connection.request(method, (self.base if token is None else token) + path, body, given)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), content

    def json(self, method, path, body=None, **headers):
        status, _, content = self.ask(method, path, body, **headers)
        return status, json.loads(content)

    def upload(self, path, name=None):
        status, video = self.json('POST', f'api/videos?name={name or Path(path).name}', Path(path).read_bytes())
        assert status == 201, video
        return video['id']

    def start(self, key, **settings):
        *_, weights = self.json('GET', 'api/weights')[1]  # those of the package are offered first
        content = json.dumps({'weights': weights['key'], **settings})
        return self.json('POST', f'api/videos/{key}/start', content)

    def video(self, key):
        return next(v for v in self.json('GET', 'api/state')[1]['videos'] if v['id'] == key)

    def wait(self, key, state='done', seconds=240):
        deadline = time.monotonic() + seconds
        while (video := self.video(key))['state'] != state and time.monotonic() < deadline:
            assert video['state'] != 'failed', video
            time.sleep(0.1)
        assert video['state'] == state, video
        return video


@pytest.fixture
def page(place):
    """A page in this process, of uploads up to 200 000 bytes."""
    folder = place / 'page'
    folder.mkdir()
    app = App(Jobs(folder, 'cpu', 8), Catalogue([place / 'weights']), 200_000)
    server = Server(app.routes(), 'the-token')
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Page(server.address)
    server.shutdown()
    server.server_close()
    app.jobs.close()
    app.close()


def until(true, seconds=100):
    """Waits for what takes its time on a machine that has other work."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def left(place):
    """What uploads have left on the disk."""
    return sorted(p.name for p in (place / 'page').iterdir())


def test_a_video_from_upload_to_download(page, place):
    key = page.upload('in.mp4', 'My%20film.mp4')
    video = page.video(key)
    assert (video['name'], video['state'], video['about']['size']) == ('My film.mp4', 'ready', '64x48')
    assert page.ask('GET', f'api/videos/{key}/result')[0] == 404
    assert page.start(key)[0] == 200
    assert page.start(key)[0] == 422, 'once is enough'
    video = page.wait(key)
    assert video['parts'] == [[0, 8], [8, 8], [16, 4]]
    status, headers, content = page.ask('GET', f'api/videos/{key}/result')
    assert status == 200
    assert "filename*=UTF-8''My%20film_restored.mp4" in headers['Content-Disposition']
    assert (
        main(['restore', 'in.mp4', 'out.mp4', '--weights', 'weights/w.pth', '--device', 'cpu', '--segment', '8']) == 0
    )
    Path('page.mp4').write_bytes(content)
    assert frames_of('page.mp4') == frames_of('out.mp4'), 'what `votes restore` makes'
    status, headers, part = page.ask('GET', f'api/videos/{key}/result', Range='bytes=10-19')
    assert (status, part, headers['Content-Range']) == (206, content[10:20], f'bytes 10-19/{len(content)}')
    assert page.ask('GET', f'api/videos/{key}/result', Range='bytes=-5')[2] == content[-5:]
    for side in ('input', 'output'):
        status, headers, picture = page.ask('GET', f'api/videos/{key}/{side}/19.png')
        assert (status, picture[:4], picture[16:24]) == (200, b'\x89PNG', b'\0\0\0\x80\0\0\0\x60'), '128x96'
        assert page.ask('GET', f'api/videos/{key}/{side}/20.png')[0] == 422
    assert page.ask('HEAD', f'api/videos/{key}/result')[2] == b''
    again = page.json('POST', f'api/videos/{key}/again')[1]['id']
    assert page.start(again, **{'from': 0.2, 'to': 0.4, 'strength': 0.5})[0] == 200
    page.wait(again)
    assert page.json('POST', f'api/videos/{key}/remove')[0] == 200
    assert left(place) == [again]
    arguments = [
        '--weights',
        'weights/w.pth',
        '--device',
        'cpu',
        '--frames',
        '5:10',
        '--strength',
        '0.5',
        '--segment',
        '8',
    ]
    assert main(['restore', 'in.mp4', 'part.mp4', *arguments]) == 0
    Path('page.mp4').write_bytes(page.ask('GET', f'api/videos/{again}/result')[2])
    assert frames_of('page.mp4') == frames_of('part.mp4')


def test_settings_that_make_no_sense(page):
    key = page.upload('in.mp4')
    for wrong in (
        {'strength': 0},
        {'strength': 2},
        {'strength': 'x'},
        {'from': 9},
        {'from': 0.2, 'to': 0.1},
        {'from': -1},
    ):
        status, told = page.start(key, **wrong)
        assert (status, page.video(key)['state']) == (422, 'ready'), told
    for text in ('[1]', '{', 'null', '{"weights": "/etc/passwd"}', '{"weights": {}, "strength": NaN}'):
        assert page.ask('POST', f'api/videos/{key}/start', text)[0] in (400, 422)
    assert page.ask('POST', f'api/videos/{key}/start', ' ' * 100_000)[0] == 413
    assert [w['name'] for w in page.json('GET', 'api/weights')[1]] == ['weights/w.pth'], 'a DSM restores nothing'


@pytest.mark.parametrize('token', ['/', '/wrong/', '/the-toke/', '/the-token2/', '/%74he-token/', '/THE-TOKEN/'])
def test_wrong_tokens(page, place, token):
    for method, path in (('GET', ''), ('GET', 'api/state'), ('GET', 'app.js'), ('POST', 'api/videos?name=a.mp4')):
        status, headers, content = page.ask(method, path, b'x' * 100 if method == 'POST' else None, token)
        assert status == 403
        assert 'the-token' not in str(headers) + content.decode()
    assert left(place) == []


@pytest.mark.parametrize(
    'headers',
    [
        {'Host': 'evil.example'},
        {'Host': 'evil.example:80'},
        {'Host': '127.0.0.1.evil.example'},
        {'Host': '192.168.1.2'},
        {'Host': 'localhost.evil'},
        {'Host': ''},
        {'Origin': 'http://evil.example'},
        {'Origin': 'null'},
        {'Origin': 'http://127.0.0.1:1'},
        {'Origin': 'https://127.0.0.1'},
        {'Sec_Fetch_Site': 'cross-site'},
        {'Sec_Fetch_Site': 'same-site', 'Sec_Fetch_Mode': 'no-cors'},
    ],
)
def test_other_names_and_origins(page, place, headers):
    body = (place / 'in.mp4').read_bytes()
    assert page.ask('POST', 'api/videos?name=a.mp4', body, **headers)[0] == 403
    assert page.ask('GET', 'api/state', **headers)[0] == 403
    assert left(place) == []


def test_its_own_page_and_a_tunnel_are_answered(page):
    for headers in (
        {'Origin': f'http://{page.host}', 'Sec_Fetch_Site': 'same-origin'},
        {'Host': 'localhost:8888', 'Origin': 'http://localhost:8888'},
        {'Host': '[::1]:9'},
        {'Sec_Fetch_Site': 'cross-site', 'Sec_Fetch_Mode': 'navigate'},
    ):
        status, told, _ = page.ask('GET', 'api/state', **headers)
        assert status == 200
    assert told['Referrer-Policy'] == 'no-referrer'
    assert "default-src 'none'" in told['Content-Security-Policy']
    assert 'Access-Control-Allow-Origin' not in told


@pytest.mark.parametrize(
    'path',
    [
        '../../../etc/passwd', '..%2f..%2fetc%2fpasswd', '/etc/passwd', 'page/../../jobs.py', 'app.js/../server.py',
        'app.js%00', 'api/videos/../state', 'api/videos/{id}/../../../secret',
        'api/videos/{id}/result/../../../in.mp4',
        'api/videos/{id}/output/..%2f..%2fvideo.mp4', 'api/videos/{id}/output/-1.png', 'api/videos/{id}/output/1e3.png',
        'api/videos/{id}/output/٣.png', 'api/videos/{id}/video.json', 'api/videos/{id}', 'api/videos/....../result',
        'api/videos/AAAAAAAAAAAA/result', 'static/app.js', '\\..\\..\\in.mp4', 'file:///etc/passwd',
    ],
)  # fmt: skip
def test_paths_that_are_tricks(page, path):
    key = page.upload('in.mp4')
    path = path.replace('{id}', key).encode('utf-8').decode('latin-1')
    head = f'GET {page.base}{path} HTTP/1.1\r\nHost: {page.host}\r\nConnection: close\r\n\r\n'
    with socket.create_connection(page.host.split(':')) as connection:
        connection.sendall(head.encode('latin-1'))
        answer = b''.join(iter(lambda: connection.recv(65536), b''))
    assert answer.split()[1] in (b'404', b'400', b'403', b'422')
    assert b'root:' not in answer


def test_names_are_only_shown(page, place):
    assert plain_name('../../etc/passwd') == 'passwd'
    assert plain_name('C:\\Videos\\a.mp4') == 'a.mp4'
    assert plain_name('a\nb\0.mp4') == 'ab.mp4'
    assert plain_name('') == plain_name('/') == 'video'
    assert len(plain_name('x' * 5000 + '.mp4')) <= 150
    key = page.upload('in.mp4', '..%2F..%2F%3C!--%3Cscript%3E%22.mp4')
    assert page.video(key)['name'] == '<!--<script>".mp4'
    assert left(place) == [key]
    assert sorted(p.name for p in (place / 'page' / key).iterdir()) == ['video.json', 'video.mp4']


def raw(page, head, *pieces):
    """Sends a request as it is; returns the answer's first line, or '' where the connection was closed."""
    with socket.create_connection(page.host.split(':'), timeout=30) as connection:
        connection.sendall((head.replace('\n', '\r\n') + '\r\n\r\n').encode())
        try:
            for piece in pieces:
                connection.sendall(piece)
            return connection.makefile('rb').readline().decode().strip()
        except (BrokenPipeError, ConnectionResetError):
            return connection.makefile('rb').readline().decode().strip()


def test_uploads_that_are_too_large(page, place):
    head = f'POST {page.base}api/videos?name=a.mp4 HTTP/1.1\nHost: {page.host}\n'
    assert ' 413 ' in raw(page, head + 'Content-Length: 10000000000')
    assert ' 413 ' in raw(page, head + 'Content-Length: 10000000000', b'x' * 1_000_000)
    chunk = b'%x\r\n' % 50_000 + b'x' * 50_000 + b'\r\n'
    assert ' 413 ' in raw(page, head + 'Transfer-Encoding: chunked', *[chunk] * 5)
    for wrong in ('Content-Length: 5\nContent-Length: 6', 'Content-Length: -1', 'Transfer-Encoding: gzip'):
        assert ' 400 ' in raw(page, head + wrong)
    assert ' 400 ' in raw(page, head + 'Content-Length: 3\nTransfer-Encoding: chunked')
    assert raw(page, head + 'Transfer-Encoding: chunked', b'zz\r\n') == '', 'no chunk'
    assert left(place) == []
    assert page.ask('GET', 'api/state')[0] == 200


def test_uploads_that_are_no_video_or_break_off(page, place):
    (place / 'secret.ts').write_bytes(b'G' * 188 * 10)
    playlist = f'#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{place}/in.mp4\n#EXT-X-ENDLIST\n'
    concat = f"ffconcat version 1.0\nfile '{place}/in.mp4'\n"
    for text in ('no video', playlist, concat, ''):
        status, told = page.json('POST', 'api/videos?name=a.mp4', text.encode())
        assert status == 422, told
    head = f'POST {page.base}api/videos?name=a.mp4 HTTP/1.1\nHost: {page.host}\nContent-Length: 150000\n\n'
    with socket.create_connection(page.host.split(':')) as connection:
        connection.sendall(head.replace('\n', '\r\n').encode() + b'x' * 1000)
        until(lambda: left(place))
    until(lambda: not left(place))


def test_an_upload_in_chunks(page, place):
    content = (place / 'in.mp4').read_bytes()
    pieces = [content[i : i + 1000] for i in range(0, len(content), 1000)]
    chunks = [b'%x;ignored=1\r\n' % len(p) + p + b'\r\n' for p in pieces] + [b'0\r\n\r\n']
    head = f'POST {page.base}api/videos?name=a.mp4 HTTP/1.1\nHost: {page.host}\nTransfer-Encoding: chunked'
    assert ' 201 ' in raw(page, head, *chunks)
    (key,) = left(place)
    assert (place / 'page' / key / 'video.mp4').read_bytes() == content


def test_a_hundred_at_once(page):
    key = page.upload('in.mp4')
    page.start(key)
    page.wait(key)
    paths = ['api/state', f'api/videos/{key}/output/3.png', f'api/videos/{key}/result', 'api/weights', 'nothing'] * 20
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda path: page.ask('GET', path), paths))
    assert [a[0] for a in answers] == [200, 200, 200, 200, 404] * 20
    assert len({a[2] for a in answers[1::5]}) == len({a[2] for a in answers[2::5]}) == 1


def test_a_decoder_that_dies_costs_one_picture(place):
    reader = Decoder()
    first = reader.frame(place / 'in.mp4', 0)
    assert first[:4] == b'\x89PNG'
    reader.process.kill()
    reader.process.wait()
    assert reader.frame(place / 'in.mp4', 0) == first
    with pytest.raises(UserError, match='no such frame'):
        reader.frame(place / 'in.mp4', 20)
    reader.close()


def test_weights_with_names_of_their_own_come_first_and_once(place):
    checkpoint.save(checkpoint.load('weights/w.pth'), 'weights/a.pth')
    named = Catalogue([Path('weights'), Path('weights/w.pth')], {'x2 (twice the size)': Path('weights/w.pth')})
    assert [w.name for w in named.all()] == ['x2 (twice the size)', 'weights/a.pth']
    assert named.get(named.all()[0].key).path == Path('weights/w.pth').resolve()
    Path('weights/w.pth').unlink()
    assert [w.name for w in named.all()] == ['weights/a.pth']
    assert all(path.is_file() for path in shipped().values())


def test_what_an_earlier_page_left(place):
    folder = place / 'page'
    for name, text in (('0' * 12, None), ('1' * 12, '{'), ('2' * 12, '{"name": "a"}'), ('mine', None)):
        (folder / name).mkdir(parents=True)
        (folder / name / 'video.mp4').write_text('an upload')
        if text:
            (folder / name / 'video.json').write_text(text)
    jobs = Jobs(folder, 'cpu', 8)
    jobs.close()
    assert jobs.videos == {}
    assert left(place) == ['1' * 12, '2' * 12, 'mine'], 'only an upload that broke off is removed'


def test_stop_go_on_and_a_failure(page, place):
    lossless(place / 'long.mp4', moving(60), codec='libx264', chroma='420')
    key = page.upload('long.mp4')
    page.start(key)
    until(lambda: page.video(key)['parts'])
    assert page.json('POST', f'api/videos/{key}/stop')[0] == 200
    video = page.wait(key, 'stopped')
    assert 1 <= len(video['parts']) < 8
    Path('weights/w.pth').rename('weights/away.pth')
    assert page.json('POST', f'api/videos/{key}/continue')[0] == 200
    until(lambda: page.video(key)['state'] == 'failed')
    assert 'checkpoint not found' in page.video(key)['message']
    assert page.video(key)['parts'] == video['parts'], 'nothing is lost'
    Path('weights/away.pth').rename('weights/w.pth')
    assert page.json('POST', f'api/videos/{key}/continue')[0] == 200
    page.wait(key)


def test_what_the_command_refuses(place, capsys):
    for wrong in (['--weights', 'nothing'], ['--upload-limit', '0'], ['--folder', 'in.mp4'], ['--port', '99999999']):
        assert main(['app', '--no-browser', *wrong]) == 2
        assert 'Traceback' not in capsys.readouterr().err
