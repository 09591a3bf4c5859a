"""Reads videos for the page in a process of its own: a file that crashes a decoder costs a picture, not the page.

Requests are lines of JSON on stdin, ``{"do": "probe" or "frame", ...}``. An answer is a line of JSON with its number of
``bytes``, and then so many bytes. The process ends when its stdin does, which is also when the page was killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

from votes.errors import UserError
from votes.video.probe import probe
from votes.video.random_access import RandomAccess

# Containers that hold a video themselves. Playlists (HLS, DASH, concat) name other files, and are not opened.
CONTAINERS = (
    'mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,ivf,yuv4mpegpipe,h264,hevc,m4v,mpegvideo,gif,nut,obu'
)
OPEN = 6  # videos that stay open
PATIENCE = 90.0  # seconds for an answer


class Decoder:
    """Asks such a process, and starts another one where it ended."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None

    def probe(self, path: Path) -> dict[str, Any]:
        """What `votes probe` finds in a video.

        Raises:
            UserError: it is none.
        """
        return dict(self._ask({'do': 'probe', 'path': str(path)})[0]['about'])

    def frame(self, path: Path, index: int, like: Path | None = None, width: int | None = None) -> bytes:
        """Frame `index` as PNG, or `width` pixels wide as JPEG.

        Args:
            like: a video whose size it is enlarged to.

        Raises:
            UserError: there is no such frame.
        """
        what = {'do': 'frame', 'path': str(path), 'index': index, 'like': like and str(like), 'width': width}
        return self._ask(what)[1]

    def _ask(self, what: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        with self.lock:
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            timer = threading.Timer(PATIENCE, process.kill)
            timer.start()
            try:
                process.stdin.write(json.dumps(what).encode() + b'\n')
                process.stdin.flush()
                answer = json.loads(process.stdout.readline())
                content = process.stdout.read(answer['bytes'])
                if len(content) < answer['bytes']:
                    raise EOFError
            except (OSError, ValueError, EOFError) as error:
                process.kill()
                raise UserError('the video cannot be read: the decoder ended', fix='is the file damaged?') from error
            finally:
                timer.cancel()
        if 'error' in answer:
            raise UserError(answer['error'], value=answer['value'], fix=answer['fix'])
        return answer, content

    def _started(self) -> subprocess.Popen[bytes]:
        if self.process is not None and self.process.poll() is None:
            return self.process
        command = [sys.executable, '-m', 'votes.app.decoder']
        environment = os.environ | {'PYTHONPATH': os.pathsep.join(p for p in sys.path if p)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )
        return self.process

    def close(self) -> None:
        """Ends the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def check_container(path: Path) -> None:
    """Raises UserError where a file is no container that holds its video itself."""
    import av

    try:
        with av.open(str(path), options={'format_whitelist': CONTAINERS, 'protocol_whitelist': 'file'}):
            pass
    except (av.error.FFmpegError, OSError) as error:
        fix = 'a video file such as .mp4, .mkv, .webm or .mov; playlists name other files and are not read'
        raise UserError('this file is no video that is taken here', value=error.strerror, fix=fix) from error


class Videos:
    """Those that were asked for last stay open."""

    def __init__(self) -> None:
        self.opened: dict[tuple[str, int], RandomAccess] = {}

    def get(self, name: str) -> RandomAccess:
        try:
            key = name, os.stat(name).st_mtime_ns
        except OSError as error:
            raise UserError('the video is not there any more') from error
        video = self.opened.pop(key, None) or RandomAccess(Path(name))
        self.opened[key] = video
        while len(self.opened) > OPEN:
            self.opened.pop(next(iter(self.opened))).reader.container.close()
        return video

    def frame(self, ask: dict[str, Any]) -> bytes:
        picture = self.get(ask['path']).read(int(ask['index']))
        size = picture.shape[1::-1]
        if ask['like']:
            height, width = self.get(ask['like']).reader.size
            size = width, height
        if ask['width']:
            size = ask['width'], max(1, round(ask['width'] * size[1] / size[0]))
        if size != picture.shape[1::-1]:
            smaller = size[0] < picture.shape[1]
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
        bgr = np.ascontiguousarray(picture[..., ::-1])
        kind, how = (
            ('.jpg', [cv2.IMWRITE_JPEG_QUALITY, 85]) if ask['width'] else ('.png', [cv2.IMWRITE_PNG_COMPRESSION, 1])
        )
        return bytes(cv2.imencode(kind, bgr, how)[1])


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers until there are no more requests."""
    videos = Videos()
    for line in requests:
        ask = json.loads(line)
        answer: dict[str, Any] = {}
        content = b''
        try:
            if ask['do'] == 'probe':
                check_container(Path(ask['path']))
                answer['about'] = probe(ask['path'])
            else:
                content = videos.frame(ask)
        except UserError as error:
            told = {key: detail and str(detail) for key, detail in error.details.items()}
            answer = {'error': error.what, 'value': told['value'], 'fix': told['fix']}
        answers.write(json.dumps(answer | {'bytes': len(content)}).encode() + b'\n' + content)
        answers.flush()


if __name__ == '__main__':
    out = os.fdopen(os.dup(1), 'wb')
    os.dup2(2, 1)  # what libraries print must not come between answers
    serve(sys.stdin.buffer, out)
