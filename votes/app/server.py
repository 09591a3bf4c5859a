"""HTTP for one person on one machine: who may ask, how much may be sent, and what an answer looks like.

Three things keep strangers out, each alone: the server listens on 127.0.0.1 only; every address begins with a token
that only the person who started it has seen; and what a browser says about where a request comes from has to be this
page: a name other than this machine's (DNS rebinding) or another origin is refused before anything is read.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
import shutil
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from votes.errors import UserError

BLOCK = 1 << 20  # bytes read at a time
SMALL = 1 << 16  # bytes of a request that is no upload
DRAINED = 4 << 20  # bytes of a refused upload that are read, so that the browser gets to see the answer
TOGETHER = 64  # requests that are answered at a time; more of them wait
IDLE = 20.0  # seconds without a byte after which a connection is closed
HEADERS = {
    'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    'Referrer-Policy': 'no-referrer',  # it would tell the token
    'X-Content-Type-Options': 'nosniff',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Cross-Origin-Opener-Policy': 'same-origin',
}


class Refused(Exception):
    """A request that gets no more than a status and a sentence."""

    def __init__(self, status: HTTPStatus, text: str):
        super().__init__(text)
        self.status, self.text = status, text


@dataclass
class Answer:
    """What is sent back.

    Attributes:
        file: sent instead of `content`; parts of it too, where they are asked for.
        keep: whether a browser may keep it for an hour.
    """

    kind: str = 'application/json'
    content: bytes = b''
    file: Path | None = None
    status: HTTPStatus = HTTPStatus.OK
    keep: bool = False
    headers: dict[str, str] = field(default_factory=dict)


def as_json(content: Any, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    return Answer(content=json.dumps(content).encode(), status=status)


class Request:
    """Method, path without the token, query, and the body as it comes.

    Attributes:
        match: of the route's pattern.
    """

    def __init__(self, handler: Handler, path: str, query: dict[str, str]):
        self.handler, self.path, self.query = handler, path, query
        self.match: re.Match[str] | None = None

    def part(self, name: str) -> str:
        """A part of the path, by its name in the route."""
        assert self.match is not None
        return self.match[name]

    def length(self) -> int | None:
        """The length that the body is said to have; None where it comes in chunks."""
        headers = self.handler.headers
        said = headers.get_all('Content-Length') or []
        encoding = headers.get('Transfer-Encoding')
        if encoding is not None:
            if encoding.strip().lower() != 'chunked' or said:
                raise Refused(HTTPStatus.BAD_REQUEST, 'a body has a length, or comes in chunks')
            return None
        if len(said) > 1 or (said and not re.fullmatch('[0-9]{1,18}', said[0].strip())):
            raise Refused(HTTPStatus.BAD_REQUEST, 'the length of the body is no number')
        return int(said[0]) if said else 0

    def body(self, limit: int) -> Iterator[bytes]:
        """The body in blocks.

        Raises:
            Refused: it is longer than `limit`, which is known from its length, or found out on the way.
            ConnectionError: it breaks off.
        """
        length = self.length()
        if length is not None and length > limit:
            raise too_large(limit)
        blocks = self._chunks() if length is None else self._exactly(length)
        total = 0
        for block in blocks:
            total += len(block)
            if total > limit:
                raise too_large(limit)
            yield block
        self.handler.unread = False

    def _exactly(self, length: int) -> Iterator[bytes]:
        while length:
            block = self.handler.rfile.read1(min(BLOCK, length))  # type: ignore[attr-defined]
            if not block:
                raise ConnectionError('the upload broke off')
            length -= len(block)
            yield block

    def _chunks(self) -> Iterator[bytes]:
        while True:
            line = self.handler.rfile.readline(64).split(b';')[0].strip()
            if not re.fullmatch(b'[0-9a-fA-F]{1,12}', line):
                raise ConnectionError('the upload broke off')
            size = int(line, 16)
            yield from self._exactly(size)
            after = self.handler.rfile.readline(64).strip()
            if after and size:
                raise ConnectionError('the upload broke off')
            if not size:
                self.handler.close_connection = self.handler.close_connection or bool(after)  # more fields, not read
                return

    def json(self) -> dict[str, Any]:
        """A small body of JSON, an object; {} where there is none."""
        text = b''.join(self.body(SMALL))
        try:
            content = json.loads(text) if text else {}
        except (ValueError, RecursionError) as error:
            raise Refused(HTTPStatus.BAD_REQUEST, 'the request is no JSON') from error
        if not isinstance(content, dict):
            raise Refused(HTTPStatus.BAD_REQUEST, 'the request is no JSON object')
        return content


def too_large(limit: int) -> Refused:
    text = f'too large: at most {limit / 1e9:g} GB are taken' if limit >= 10**7 else f'too large: at most {limit} bytes'
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)


Route = tuple[str, str, Callable[[Request], Answer]]  # method, pattern of the path after the token, what answers


class Server(ThreadingHTTPServer):
    """Listens on 127.0.0.1.

    Args:
        routes: tried in order; patterns match the path as it was sent, nothing in it is decoded.
        port: 0 for one that is free.
        token: what every address begins with.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, routes: list[Route], token: str, port: int = 0):
        self.routes = [(method, re.compile(pattern), answer) for method, pattern, answer in routes]
        self.token = token
        self.slots = threading.BoundedSemaphore(TOGETHER)
        super().__init__(('127.0.0.1', port), Handler)

    @property
    def address(self) -> str:
        return f'http://127.0.0.1:{self.server_address[1]}/{self.token}/'

    def process_request(self, request: Any, client_address: Any) -> None:
        self.slots.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break off are nothing to talk about."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Checks a request, finds its route, sends the answer."""

    server: Server
    protocol_version = 'HTTP/1.1'
    server_version, sys_version = 'votes', ''
    timeout = IDLE
    unread = False  # whether there may be a body that nobody has read

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: addresses hold the token."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server refuses by itself, without its page that repeats the request."""
        self.close_connection = True
        self.request_version = self.protocol_version  # a line that cannot be read is taken for one of HTTP/0.9
        self._send(as_json({'error': 'this is no request that is answered'}, HTTPStatus(code)))

    def do_GET(self) -> None:
        self._answer('GET')

    def do_HEAD(self) -> None:
        self._answer('GET')

    def do_POST(self) -> None:
        self._answer('POST')

    def _answer(self, method: str) -> None:
        self.unread = bool(self.headers.get('Transfer-Encoding') or self.headers.get('Content-Length', '0') != '0')
        try:
            answer = self._route(method)
        except Refused as error:
            answer = as_json({'error': error.text}, error.status)
        except UserError as error:
            value, fix = (error.details[key] and str(error.details[key]) for key in ('value', 'fix'))
            answer = as_json({'error': error.what, 'value': value, 'fix': fix}, HTTPStatus.UNPROCESSABLE_ENTITY)
        except OSError:  # the connection, or an upload that broke off
            self.close_connection = True
            return
        except Exception:
            traceback.print_exc()
            answer = as_json({'error': 'this went wrong; the terminal says how'}, HTTPStatus.INTERNAL_SERVER_ERROR)
        if self.unread or threading.active_count() > TOGETHER // 2:  # others wait for a place
            self.close_connection = True
        try:
            self._send(answer)
            if self.unread:
                self._drain()
        except OSError:
            self.close_connection = True

    def _route(self, method: str) -> Answer:
        self._check_sender()
        try:
            target = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(target.query, max_num_fields=10).items()}
        except ValueError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, 'this is no address') from error
        token, _, path = target.path.removeprefix('/').partition('/')
        if not hmac.compare_digest(token.encode(errors='replace'), self.server.token.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, 'this address lacks the token that `votes app` printed')
        request, allowed = Request(self, path, query), False
        for wanted, pattern, answer in self.server.routes:
            request.match = pattern.fullmatch(path)
            if request.match and wanted == method:
                return answer(request)
            allowed = allowed or request.match is not None
        if allowed:
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, 'not in this way')
        raise Refused(HTTPStatus.NOT_FOUND, 'there is nothing here')

    def _check_sender(self) -> None:
        hosts = self.headers.get_all('Host') or []
        if len(hosts) != 1 or not local(hosts[0]):
            raise Refused(HTTPStatus.FORBIDDEN, 'only this machine is answered: 127.0.0.1 or localhost')
        origin = self.headers.get('Origin')
        if origin is not None and origin.lower() != f'http://{hosts[0]}'.lower():
            raise Refused(HTTPStatus.FORBIDDEN, 'only its own page is answered')
        site = self.headers.get('Sec-Fetch-Site', 'none')
        if site not in ('none', 'same-origin') and self.headers.get('Sec-Fetch-Mode') != 'navigate':
            raise Refused(HTTPStatus.FORBIDDEN, 'only its own page is answered')

    def _send(self, answer: Answer) -> None:
        if answer.file is not None:
            with open(answer.file, 'rb') as file:
                size = file.seek(0, 2)
                first, stop = self._range(size)
                part = (first, stop) != (0, size)
                self._head(answer, stop - first, f'bytes {first}-{stop - 1}/{size}' if part else None)
                file.seek(first)
                left = stop - first if self.command != 'HEAD' else 0
                while left and (block := file.read(min(BLOCK, left))):
                    self.wfile.write(block)
                    left -= len(block)
            return
        self._head(answer, len(answer.content), None)
        if self.command != 'HEAD':
            self.wfile.write(answer.content)

    def _head(self, answer: Answer, length: int, part: str | None) -> None:
        self.send_response(HTTPStatus.PARTIAL_CONTENT if part else answer.status)
        kept = 'private, max-age=3600' if answer.keep and answer.status == HTTPStatus.OK else 'no-store'
        about = {'Content-Type': answer.kind, 'Content-Length': str(length), 'Cache-Control': kept}
        about |= {'Accept-Ranges': 'bytes'} if answer.file is not None else {}
        about |= {'Content-Range': part} if part else {}
        about |= {'Connection': 'close'} if self.close_connection else {}
        for name, value in (about | HEADERS | answer.headers).items():
            self.send_header(name, value)
        self.end_headers()

    def _range(self, size: int) -> tuple[int, int]:
        """The part of a file that is asked for, as first byte and last + 1; all of it where that makes no sense."""
        match = re.fullmatch(r'bytes=(\d{0,18})-(\d{0,18})', self.headers.get('Range', '').strip())
        if match is None or not any(match.groups()) or not size:
            return 0, size
        if not match[1]:
            return max(0, size - int(match[2])), size
        first, stop = int(match[1]), min(size, int(match[2]) + 1 if match[2] else size)
        return (first, stop) if first < stop else (0, size)

    def _drain(self) -> None:
        """Reads some of what was refused: a connection that is closed before tells the browser nothing."""
        self.connection.settimeout(1.0)
        self.connection.shutdown(socket.SHUT_WR)
        left = DRAINED
        while left > 0 and (block := self.connection.recv(min(BLOCK, left))):
            left -= len(block)


def local(host: str) -> bool:
    """Whether a Host header names this machine; its port may be that of a tunnel to it."""
    match = re.fullmatch(r'([A-Za-z0-9.]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?', host.strip())
    if match is None:
        return False
    name = match[1].strip('[]').lower()
    if name == 'localhost':
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def free(folder: Path) -> int:
    """Bytes that may still be written there."""
    return shutil.disk_usage(folder).free
