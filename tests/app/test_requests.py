"""Requests of `votes app` that are none, and a fault of its own: clear answers, and nothing leaks."""

import json
import socket

import pytest
from app.test_app import page, place  # noqa: F401

from votes.app.jobs import Jobs


@pytest.mark.parametrize(
    ('head', 'status'),
    [
        ('GET http://[/ HTTP/1.1', 400), ('GET {base}api/state?' + 'a=1&' * 50 + ' HTTP/1.1', 400),
        ('PUT {base}api/state HTTP/1.1', 501), ('GET {base} HTTP/9.9', 505), ('GET {base} HTTP/1.1 more', 400),
    ],
)  # fmt: skip
def test_requests_that_are_none_are_not_repeated(page, capsys, head, status):  # noqa: F811
    host, port = page.host.split(':')
    with socket.create_connection((host, port), timeout=30) as connection:
        connection.sendall(f'{head.format(base=page.base)}\r\nHost: {page.host}\r\nConnection: close\r\n\r\n'.encode())
        answer = b''.join(iter(lambda: connection.recv(65536), b'')).decode()
    assert answer.split()[1] == str(status)
    assert page.base.strip('/') not in answer
    assert "default-src 'none'" in answer
    assert capsys.readouterr() == ('', '')


def test_bodies_that_are_none(page, capsys):  # noqa: F811
    key, weights = page.upload('in.mp4'), page.json('GET', 'api/weights')[1][0]['key']
    for text in ('[' * 60_000, json.dumps({'weights': weights, 'strength': 10**400}), b'\xff{'):
        assert page.ask('POST', f'api/videos/{key}/start', text)[0] in (400, 422)
    assert 'Traceback' not in capsys.readouterr().err


def test_a_fault_of_ours_is_told_to_the_terminal_alone(page, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(Jobs, 'shown', lambda jobs: {}['a secret'])
    assert page.json('GET', 'api/state') == (500, {'error': 'this went wrong; the terminal says how'})
    assert "KeyError: 'a secret'" in capsys.readouterr().err
    assert page.ask('GET', 'app.js')[0] == 200, 'the next request is answered'
