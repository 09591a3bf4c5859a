"""Values of recipes that differ from clip to clip: `qp: {normal: [31, 2]}` is drawn once for each clip.

A distribution may stand for any value of a recipe, whole encodings and lists of them included:

    {normal: [mean, deviation]}     cut off at three deviations
    {uniform: [low, high]}
    {choice: [a, b, c]}             each as likely
    {choice: {a: 3, b: 1}}          by weight

Whole numbers are drawn where all numbers of a distribution are whole, and for what counts something (`WHOLE`). What is
drawn is a pure function of the seed, the clip's name and the place in the recipe: other clips, their order and other
values of the recipe change nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

KINDS = ('normal', 'uniform', 'choice')
WHOLE = ('qp', 'kbps', 'gop', 'bframes', 'rate', 'qp_cycle')
DEVIATIONS = 3  # beyond which a normal distribution is cut off

Key = tuple[str | int, ...]


def is_draw(value: Any) -> bool:
    """Whether a value of a recipe is a distribution."""
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)) in KINDS


def places(data: Any, key: Key = ()) -> Iterator[tuple[Key, dict[str, Any]]]:
    """Every distribution in a recipe's data, the outermost alone where one holds others."""
    if is_draw(data):
        yield key, data
    elif isinstance(data, dict | list | tuple):
        for name, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from places(value, (*key, name))


def problems(data: Any) -> list[str]:
    """What is wrong with the distributions of a recipe, a sentence each."""
    found = []
    for key, draw in places(data):
        kind, given = next(iter(draw.items()))
        where = '.'.join(map(str, key))
        if kind == 'choice':
            weights = list(given.values()) if isinstance(given, dict) else None
            if not isinstance(given, dict | list) or not given:
                found.append(f'{where}: choice needs a list of values, or values with their weights')
            elif weights and not all(_number(w) and w > 0 for w in weights):
                found.append(f'{where}: weights of a choice are numbers above 0')
            else:
                found += problems(list(given))
        elif not (isinstance(given, list | tuple) and len(given) == 2 and all(map(_number, given))):
            found.append(
                f'{where}: {kind} needs two numbers, {"[mean, deviation]" if kind == "normal" else "[low, high]"}'
            )
        elif kind == 'normal' and given[1] < 0:
            found.append(f'{where}: a deviation is not below 0')
        elif kind == 'uniform' and given[0] > given[1]:
            found.append(f'{where}: uniform is [low, high], not {list(given)}')
    return found


def middle(data: Any) -> Any:
    """Data of a recipe with the middle of each distribution: its mean, or the first choice."""
    return _replaced(data, (), lambda key, draw: _of_kind(draw, key))


def drawn(data: Any, seed: int, clip: str) -> Any:
    """Data of a recipe for one clip."""

    def one(key: Key, draw: dict[str, Any]) -> Any:
        text = f'{seed}/{clip}/{".".join(map(str, key))}'
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], 'big'))
        kind, given = next(iter(draw.items()))

        def number(low: float, mean: float, high: float) -> float:
            if kind == 'uniform':
                return float(rng.uniform(low - 0.5, high + 0.5)) if _whole(draw, key) else float(rng.uniform(low, high))
            return float(np.clip(rng.normal(mean, given[1]), low, high))

        def which(options: list[Any]) -> int:
            weights = np.array(list(given.values()) if isinstance(given, dict) else [1] * len(options), float)
            return int(rng.choice(len(options), p=weights / weights.sum()))

        return _of_kind(draw, key, number, which)

    return _replaced(data, (), one)


def values(data: Any, concrete: Any) -> dict[str, Any]:
    """Place in the recipe -> what was drawn there."""
    found = {}
    for key, _ in places(data):
        value = concrete
        for name in key:
            value = value[name]
        found['.'.join(map(str, key))] = value
    return found


def ends(data: Any) -> Iterator[tuple[Key, Any, Any]]:
    """Data of a recipe with each distribution in turn at each of its ends, or choices: (place, value, data)."""
    for key, draw in places(data):
        if 'choice' in draw:
            found = list(draw['choice'])
        else:
            lowest, highest = lambda low, mean, high: low, lambda low, mean, high: high
            found = [_of_kind(draw, key, lowest), _of_kind(draw, key, highest)]
        for value in found:
            inner = list(ends(value)) or [((), value, value)]
            for place, end, version in inner:
                yield (*key, *place), end, _replaced(data, (), _at(key, version))


def _at(key: Key, value: Any) -> Callable[[Key, dict[str, Any]], Any]:
    return lambda place, draw: value if place == key else _of_kind(draw, place)


def _replaced(data: Any, key: Key, one: Callable[[Key, dict[str, Any]], Any]) -> Any:
    """A copy in which each distribution is what `one` makes of it, and those within that likewise."""
    if is_draw(data):
        return _replaced(one(key, data), key, one)
    if isinstance(data, dict):
        return {name: _replaced(value, (*key, name), one) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_replaced(value, (*key, number), one) for number, value in enumerate(data)]
    return data


def _of_kind(
    draw: dict[str, Any],
    key: Key,
    number: Callable[[float, float, float], float] = lambda low, mean, high: mean,
    which: Callable[[list[Any]], int] = lambda options: 0,
) -> Any:
    """A value of a distribution: `number` gets the lowest, middle and highest of numbers, `which` a list of choices."""
    kind, given = next(iter(draw.items()))
    if kind == 'choice':
        options = list(given)
        return options[which(options)]
    first, second = float(given[0]), float(given[1])
    low, mean, high = (
        (first - DEVIATIONS * second, first, first + DEVIATIONS * second)
        if kind == 'normal'
        else (first, (first + second) / 2, second)
    )
    value = number(low, mean, high)
    return round(min(max(value, low), high)) if _whole(draw, key) else round(value, 6)


def _whole(draw: dict[str, Any], key: Key) -> bool:
    names = [name for name in key if isinstance(name, str)]
    given = next(iter(draw.values()))
    return all(isinstance(value, int) for value in given) or bool(names and names[-1] in WHOLE)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
