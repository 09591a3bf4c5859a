"""Files of a repository on a hub of models, kept as long as the repository has the same ones."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from votes import checkpoint
from votes.errors import UserError

HUB = 'https://huggingface.co'
TRIES, WAIT, TIMEOUT = 3, 1.0, 30.0  # seconds; of a connection that says nothing
KNOWN = 'files.json'  # in the folder of a revision: what each file was called by the hub
BLOCK = 1 << 20


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Remembers what the hub itself said of a file that lies elsewhere, and gives the token to the hub alone."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        for name, value in headers.items():
            self.said.setdefault(name.lower(), value)
        found = super().redirect_request(req, fp, code, msg, headers, newurl)
        if found is not None and urllib.parse.urlsplit(newurl).netloc != urllib.parse.urlsplit(req.full_url).netloc:
            found.remove_header('Authorization')
        return found


def fetched(repository: str, revision: str, names: tuple[str, ...], cache: Path | None = None) -> Path:
    """The folder that holds files of a repository, downloaded where they are missing or others by now.

    Raises:
        UserError: the repository or a file is not there, or a download fails or is damaged.
    """
    from votes.export.hub import cache_folder

    if not re.fullmatch(r'[\w./-]+', revision) or '..' in revision:
        raise UserError('no name of a revision', value=revision)
    place = repository.replace('/', '--')
    folder = cache_folder(cache) / 'hub' / place / revision.replace('/', '--')
    base = f'{os.environ.get("HF_ENDPOINT", HUB).rstrip("/")}/{repository}/resolve/{urllib.parse.quote(revision)}'
    try:
        known = checkpoint.read_record(folder / KNOWN)
    except ValueError:
        known = {}
    for name in names:
        try:
            known[name] = _one(f'{base}/{name}', folder / name, known.get(name))
        except (OSError, http.client.HTTPException) as error:
            if all((folder / other).is_file() for other in names):
                warnings.warn(f'{base} cannot be reached ({error}): what was downloaded before is used', stacklevel=3)
                return folder
            raise UserError('the hub cannot be reached', where=f'{base}/{name}', value=error) from error
    checkpoint.write_record(folder / KNOWN, known)
    return folder


def _one(url: str, target: Path, known: Any) -> str:
    """Downloads a file, unless the hub still calls it what it is `known` as. Returns what it is called."""
    for number in range(TRIES):
        try:
            return _attempt(url, target, known)
        except urllib.error.HTTPError as error:
            if error.code < 500:
                words = {401: 'is private, or there is none of this name', 403: 'is not open', 404: 'is not there'}
                raise UserError(
                    f'a file of a hub {words.get(error.code, "is refused")}', where=url, value=f'HTTP {error.code}'
                ) from error
            problem: Exception = error
        except (OSError, http.client.HTTPException) as error:
            problem = error
        if number + 1 < TRIES:
            time.sleep(WAIT * 2**number)
    raise problem


def _attempt(url: str, target: Path, known: Any) -> str:
    with _answer(url) as (answer, said):
        tag = (said.get('x-linked-etag') or said.get('etag') or '').removeprefix('W/').strip('"')
        if tag and tag == known and target.is_file():
            return tag
        size = said.get('x-linked-size') or said.get('content-length')
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, count = hashlib.sha256(), 0
        with checkpoint.writing('a download', target), checkpoint.atomic_write(target) as temporary:
            with open(temporary, 'wb') as file:
                while block := answer.read(BLOCK):
                    file.write(block)
                    digest.update(block)
                    count += len(block)
            if size and count != int(size):
                raise ConnectionError(f'{count} of {size} bytes came')
            if re.fullmatch(r'[0-9a-f]{64}', tag) and digest.hexdigest() != tag:
                raise UserError('a download is damaged', where=url, value='its SHA-256 is another', fix='once more')
        return tag or digest.hexdigest()


@contextlib.contextmanager
def _answer(url: str) -> Iterator[tuple[Any, Mapping[str, str]]]:
    """The answer to a request, and its headers with those of the hub before any redirection on top."""
    redirects = _Redirects()
    headers = {'User-Agent': 'votes', 'Accept-Encoding': 'identity'}
    if os.environ.get('HF_TOKEN'):
        headers['Authorization'] = f'Bearer {os.environ["HF_TOKEN"]}'
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.build_opener(redirects).open(request, timeout=TIMEOUT) as answer:
        own = {name.lower(): value for name, value in answer.headers.items()}
        linked = {name: value for name, value in redirects.said.items() if name.startswith('x-linked')}
        yield answer, {**own, **linked}
