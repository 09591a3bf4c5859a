"""`votes probe`: what a video file holds."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from votes.video.probe import as_text, probe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('videos', type=Path, nargs='+', metavar='FILE', help='video files')
    parser.add_argument('--json', action='store_true', help='everything, for programs')


def run(args: argparse.Namespace) -> int:
    found: list[dict[str, Any]] = [probe(path) for path in args.videos]
    print(json.dumps(found, indent=1) if args.json else '\n\n'.join(map(as_text, found)))
    return 0
