"""The weights that ship with the package, and their cards.

cards.json says of each what it does, what it was trained on and how, where it fails, what was measured, and the SHA-256
of its file, which is checked before it is used.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from votes.errors import UserError

FOLDER = Path(__file__).parent
DEFAULT = 'x2'
LARGEST = 4_000_000  # bytes of a file


@dataclass(frozen=True)
class Card:
    """What is said about one file of weights.

    Attributes:
        name: by which `--weights` knows it.
        what: it does, in a line.
        file, sha256, bytes: of the weights, in this folder.
        scale: size of the output / size of the input.
        network: type and arguments.
        parameters: how many.
        training: option file, seed, steps, samples a step, and whatever else tells how it came about: words -> values.
        data: what it was trained on, a sentence each.
        licence: of the weights.
        fails: where it does, a sentence each.
        exact_colour: whether they are shown RGB that is rounded, see video.convert.frame_to_rgb.
        strength: pairs of a mean quantiser of H.264 and the share of the result there, by rising quantisers; between
            them it is a straight line, and the rest is the source. Empty: all of it.
        seen: what was seen on videos without a reference, a sentence each.
        measured: title of a table -> its rows, the first of which is the head.
    """

    name: str
    what: str
    file: str
    sha256: str
    bytes: int
    scale: int
    network: dict[str, Any]
    parameters: int
    training: dict[str, Any]
    data: list[str]
    licence: str
    fails: list[str]
    exact_colour: bool = False
    strength: list[list[float]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    measured: dict[str, list[list[str]]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return FOLDER / self.file

    def lines(self) -> list[str]:
        """The card in Markdown."""
        rows = [f'## {self.name}', '', self.what, '']
        rows += [f'- file: `{self.file}`, {self.bytes:,} bytes, SHA-256 `{self.sha256}`']
        arguments = ', '.join(f'{key} {value}' for key, value in self.network.items() if key != 'type')
        rows += [f'- network: {self.network["type"]} ({arguments}), {self.parameters:,} parameters, x{self.scale}']
        rows += [f'- {key}: {value}' for key, value in self.training.items()]
        if self.strength:
            shares = ', '.join(f'{share:g} at {quantiser:g}' for quantiser, share in self.strength)
            rows += [f'- strength: by the mean quantiser of H.264 (of other codecs a guess by bits a pixel), {shares}']
        if self.exact_colour:
            rows += ['- shown RGB that is rounded (`--exact-colour`)']
        rows += [f'- licence: {self.licence}']
        for title, sentences in (('Trained on', self.data), ('Where it fails', self.fails), ('Seen', self.seen)):
            if sentences:
                rows += ['', f'{title}:', '', *(f'- {sentence}' for sentence in sentences)]
        for title, table in self.measured.items():
            head, *body = table
            rows += ['', f'{title}:', '', '| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)]
            rows += ['| ' + ' | '.join(row) + ' |' for row in body]
        return rows


def cards() -> dict[str, Card]:
    """Name -> card."""
    said = json.loads((FOLDER / 'cards.json').read_text())
    return {name: Card(name, **about) for name, about in said.items()}


def shipped(name: str) -> Path:
    """The file of weights of that name, checked.

    Raises:
        UserError: there are none of that name, or the file is another one.
    """
    known = cards()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3) or known
        what = 'there is no such file, and no weights of this name ship with votes'
        raise UserError(what, value=name, fix=', '.join(near))
    card = known[name]
    if not card.path.is_file() or hashlib.sha256(card.path.read_bytes()).hexdigest() != card.sha256:
        raise UserError(
            'the weights of the package are not there, or are others than its card says',
            where=card.path,
            fix='install the package again',
        )
    return card.path


def found(weights: str | Path | None) -> tuple[Path, Card | None]:
    """A file of weights and, of those that ship, its card: a file of the user's, a name, or nothing (x2).

    Raises:
        UserError: see `shipped`.
    """
    name = DEFAULT if weights is None else str(weights)
    path = Path(name)
    if weights is not None and (path.exists() or path.suffix or path.name != name):
        ours = next((card.name for card in cards().values() if card.path == path.resolve()), None)
        if ours is None:
            return path, None
        name = ours
    return shipped(name), cards()[name]
