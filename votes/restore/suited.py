"""How weights that ship are applied to a video: what their card says, by what the video is like."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import numpy as np

from votes.errors import UserError
from votes.restore.settings import Settings
from votes.video.probe import Strength, strength
from votes.weights import Card

LOOKED_AT = 30  # frames of which quantisers are read


def guessed(source: str | Path) -> Strength | None:
    """How strongly a video seems to be compressed; None of pictures, and of what cannot be read."""
    with contextlib.suppress(UserError):
        return strength(source, LOOKED_AT) if Path(source).is_file() else None
    return None


def suited(settings: Settings, card: Card | None, source: str | Path) -> tuple[Settings, list[str]]:
    """The settings as the card wants them, its strength times the one that was asked for, and a line that says so.

    What is hardly compressed is hardly touched; a strength above 1 needs a quantiser that is known. Of pictures, and of
    what cannot be read, nothing is known: the strength stays as it is.
    """
    if card is None:
        return settings, []
    if card.exact_colour:
        settings = dataclasses.replace(settings, reading=dataclasses.replace(settings.reading, exact=True))
    guess = guessed(source) if card.strength else None
    if guess is None:
        return settings, []
    quantisers, shares = zip(*card.strength, strict=True)
    share = round(float(np.interp(guess.quantiser, quantisers, shares)), 2)
    if not guess.qp:  # bits a pixel are few also where nothing moves
        share = min(1.0, share)
    if share == 1:
        return settings, []
    said = f'strength {share:g} of {card.name}: the source is {guess}' + ('; nothing was changed' if not share else '')
    return dataclasses.replace(settings, strength=min(2.0, settings.strength * share)), [said]
