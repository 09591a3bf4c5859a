"""`votes app`: a page on this machine where anyone can restore a video."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import os
import secrets
import signal
import sys
import threading
import webbrowser
from pathlib import Path

from votes.app.catalogue import Catalogue
from votes.app.jobs import Jobs
from votes.app.routes import App
from votes.app.server import Server
from votes.commands.arguments import add_device
from votes.errors import UserError
from votes.processes.lease import Lease


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--weights',
        type=Path,
        action='append',
        metavar='PATH',
        help='a checkpoint, or a folder with checkpoints; several times for several (default: experiments)',
    )
    parser.add_argument(
        '--folder', type=Path, default=Path('votes_app'), help='where uploads and results lie (default: votes_app)'
    )
    parser.add_argument('--upload-limit', type=float, default=8.0, metavar='GB', help='of a video (default 8)')
    parser.add_argument('--segment', type=int, default=32, help='frames that are shown and kept together (default 32)')
    parser.add_argument('--port', type=int, default=0, help='default: one that is free')
    parser.add_argument('--no-browser', action='store_true', help='only print the address')
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    if args.upload_limit <= 0 or args.segment < 1:
        raise UserError('limits are above zero', value=f'{args.upload_limit} GB, {args.segment} frames')
    catalogue = Catalogue(places(args.weights), shipped())
    folder: Path = args.folder.absolute()
    if folder.exists() and not folder.is_dir():
        raise UserError('a file stands where the folder of the page should be', where=folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with Lease(folder, 'votes app'):
        app = App(Jobs(folder, args.device, args.segment), catalogue, int(args.upload_limit * 1e9))
        try:
            _serve(_listening(app, args.port), not args.no_browser)
        finally:
            with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C: the child ends by itself
                app.jobs.close()
            app.close()
    return 0


def places(named: list[Path] | None) -> list[Path]:
    """Where weights are looked for: what was named, else runs in this folder."""
    return named if named else [path for path in (Path('experiments'),) if path.is_dir()]


def shipped() -> dict[str, Path]:
    """Weights that come with the package, by name and what they do; none where it was installed without them."""
    if importlib.util.find_spec('votes.weights') is None:
        return {}
    cards = importlib.import_module('votes.weights').cards()
    return {f'{card.name} ({card.what})': card.path for card in cards.values() if card.path.is_file()}


def _listening(app: App, port: int) -> Server:
    try:
        return Server(app.routes(), secrets.token_urlsafe(24), port)
    except (OSError, OverflowError) as error:
        raise UserError(
            'this port cannot be used', value=f'{port}: {error}', fix='no --port: one that is free'
        ) from error


def _serve(server: Server, browser: bool) -> None:
    """Until Ctrl-C or SIGTERM."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    thread = threading.Thread(target=server.serve_forever, name='server', daemon=True)
    thread.start()
    print(f'{server.address}\nthis page is for you alone: the address is its key. Ctrl-C ends it', flush=True)
    if (
        browser
        and sys.stdout.isatty()
        and (sys.platform == 'darwin' or os.environ.keys() & {'DISPLAY', 'WAYLAND_DISPLAY'})
    ):
        webbrowser.open(server.address)
    try:
        stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        print('what is being restored finishes its segment; the next `votes app` goes on', file=sys.stderr)
        server.shutdown()
        server.server_close()
