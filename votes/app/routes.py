"""What each address of the page means. Requests name videos and weights by keys, never files."""

from __future__ import annotations

import itertools
import re
import shutil
import threading
from collections.abc import Iterator
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from votes.app.catalogue import Catalogue
from votes.app.decoder import Decoder
from votes.app.jobs import DONE, ID, Jobs
from votes.app.server import Answer, Refused, Request, Route, as_json, free
from votes.data.video_source import VIDEO_SUFFIXES
from votes.errors import UserError

ASSETS = {  # what the page is made of; the viewer is that of `votes report`
    '': ('votes.app', 'page/index.html', 'text/html; charset=utf-8'),
    'app.js': ('votes.app', 'page/app.js', 'text/javascript; charset=utf-8'),
    'app.css': ('votes.app', 'page/app.css', 'text/css; charset=utf-8'),
    'viewer.js': ('votes.reports', 'templates/viewer.js', 'text/javascript; charset=utf-8'),
    'viewer.css': ('votes.reports', 'templates/viewer.css', 'text/css; charset=utf-8'),
}
SPARE = 1 << 28  # bytes of the disk that uploads leave free
NAME = 150  # characters of a name that are kept
THUMB = 240  # pixels
LARGE = 1e9  # no number of a setting is that large


class App:
    """Routes, and what they work with.

    Args:
        limit: bytes of an upload.
    """

    def __init__(self, jobs: Jobs, catalogue: Catalogue, limit: int):
        self.jobs, self.catalogue, self.limit = jobs, catalogue, limit
        threading.Thread(target=catalogue.all, name='weights', daemon=True).start()  # before they are asked for
        self.prober, self.decoder = Decoder(), Decoder()  # a film that is probed does not keep pictures waiting

    def routes(self) -> list[Route]:
        video = f'api/videos/(?P<id>{ID})'
        return [
            ('GET', '|'.join(map(re.escape, ASSETS)), self.asset),
            ('GET', 'api/state', self.state),
            ('GET', 'api/weights', self.weights),
            ('POST', 'api/videos', self.upload),
            ('POST', f'{video}/(?P<do>start|stop|continue|again|remove)', self.act),
            ('GET', rf'{video}/(?P<side>input|output)/(?P<index>[0-9]{{1,8}})\.(?P<kind>png|jpg)', self.picture),
            ('GET', f'{video}/result', self.result),
        ]

    def close(self) -> None:
        """Ends the decoders, and waits for weights that are being read: nothing may run when the process ends."""
        self.catalogue.close()
        for decoder in (self.prober, self.decoder):
            decoder.close()

    def asset(self, request: Request) -> Answer:
        package, name, kind = ASSETS[request.path]
        return Answer(kind, resources.files(package).joinpath(name).read_bytes())

    def state(self, request: Request) -> Answer:
        room = max(0, free(self.jobs.folder) - SPARE)
        return as_json({'limit': min(self.limit, room), 'videos': self.jobs.shown()})

    def weights(self, request: Request) -> Answer:
        return as_json([weights.shown() for weights in self.catalogue.all()])

    def upload(self, request: Request) -> Answer:
        """A video as the body of the request, its name in the query."""
        name = plain_name(request.query.get('name', ''))
        suffix = Path(name).suffix.lower()
        file = 'video' + (suffix if suffix in VIDEO_SUFFIXES else '')
        limit = min(self.limit, max(0, free(self.jobs.folder) - SPARE))
        blocks = request.body(limit)
        first = next(blocks, b'')  # what is too large is refused before there is a folder
        if not first:
            raise UserError('this file is empty', value=name)
        folder = self.jobs.place()
        try:
            self._store(folder / file, first, blocks)
            about = self.prober.probe(folder / file)
            if not about['frames']:
                raise UserError('this file holds no frames', value=name)
            video = self.jobs.add(folder, name, file, about)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return as_json(video.shown(), HTTPStatus.CREATED)

    def _store(self, path: Path, first: bytes, blocks: Iterator[bytes]) -> None:
        written = checked = 0
        with open(path, 'wb') as out:
            for block in itertools.chain([first], blocks):
                out.write(block)
                written += len(block)
                if written - checked > SPARE // 2:  # others may write as well
                    checked = written
                    if free(path.parent) < SPARE:
                        raise UserError('the disk is full', fix='make room, or remove videos from the page')

    def act(self, request: Request) -> Answer:
        key, do = request.part('id'), request.part('do')
        content = request.json()
        if do == 'start':
            self.jobs.start(key, *self._settings(content))
        elif do == 'again':
            return as_json(self.jobs.again(key).shown(), HTTPStatus.CREATED)
        else:
            {'stop': self.jobs.stop, 'continue': self.jobs.go_on, 'remove': self.jobs.remove}[do](key)
        return as_json({'done': do})

    def _settings(self, content: dict[str, Any]) -> tuple[Any, float, tuple[float, float | None]]:
        weights = self.catalogue.get(str(content.get('weights')))
        strength = _number(content, 'strength', 1.0)
        first = _number(content, 'from', 0.0)
        stop = None if content.get('to') is None else _number(content, 'to', 0.0)
        return weights, strength, (first, stop)

    def picture(self, request: Request) -> Answer:
        """A frame of the result, counted from its first, or of the source at the same place."""
        video, index = self.jobs.get(request.part('id')), int(request.part('index'))
        path, place = video.restored(index)
        small = request.part('kind') == 'jpg'
        if request.part('side') == 'input':
            path, place, like = video.source, index + video.settings['frames'][0], path
            content = self.decoder.frame(path, place, like, THUMB if small else None)
        else:
            content = self.decoder.frame(path, place, None, THUMB if small else None)
        return Answer('image/jpeg' if small else 'image/png', content, keep=True)

    def result(self, request: Request) -> Answer:
        video = self.jobs.get(request.part('id'))
        if video.state != DONE:
            raise Refused(HTTPStatus.NOT_FOUND, 'this video is not restored yet')
        name = f'{Path(video.name).stem}_restored{Path(video.output).suffix}'
        said = f'attachment; filename="restored{Path(video.output).suffix}"; filename*=UTF-8\'\'{quote(name, safe="")}'
        return Answer(
            'application/octet-stream', file=video.folder / video.output, headers={'Content-Disposition': said}
        )


def plain_name(name: str) -> str:
    """What a file is called on the page: no path, nothing unprintable, not too long. It is never a name on the disk."""
    last = re.split(r'[/\\]', name)[-1]
    clean = ''.join(c for c in last if c.isprintable()).strip()
    return (
        clean
        if len(clean) <= NAME and clean
        else f'{Path(clean).stem[: NAME - 10]}{Path(clean).suffix[:10]}' or 'video'
    )


def _number(content: dict[str, Any], key: str, default: float) -> float:
    value = content.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < LARGE:
        raise UserError(f'{key} is no number', value=str(value)[:50])
    return float(value)
