"""`votes metadata`: what the codec of videos says."""

from __future__ import annotations

import argparse
from pathlib import Path

from votes.data.codec_metadata import extract_metadata


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('videos', type=Path, help='folder of video files')
    parser.add_argument('output', type=Path, help="folder for what their codec says: a dataset's codec_metadata")


def run(args: argparse.Namespace) -> int:
    extract_metadata(args.videos, args.output)
    return 0
