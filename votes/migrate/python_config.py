"""Configurations in Python, as mmagic and other projects of OpenMMLab have them: read as data, never executed.

What is understood: assignments of literals, of ``dict(...)``, of names that were assigned before, of f-strings and of
arithmetic on these; `_base_` and `_delete_`. That is all that such files consist of.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from votes.errors import UserError

BASE, DELETE = '_base_', '_delete_'
DEEPEST = 16  # files based on each other
LARGEST = 1 << 20  # of a list or text that arithmetic makes
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}


def read_config(path: Path, depth: int = 0) -> dict[str, Any]:
    """The names that a configuration assigns, over those of the files that it is based on.

    Raises:
        UserError: a file is missing, no Python, or something in it is no data.
    """
    if depth > DEEPEST:
        raise UserError('configurations are based on each other without end', where=path)
    try:
        tree = ast.parse(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError, RecursionError) as error:
        raise UserError('configuration cannot be read', where=path, value=error) from error
    bases: Any = next((_value(value, {}, path) for names, value in _assignments(tree, path) if BASE in names), [])
    below: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        below |= read_config((path.parent / base).resolve(), depth + 1)
    own: dict[str, Any] = {}
    for names, value in _assignments(tree, path):
        if BASE not in names:
            found = _value(value, {**below, **own, BASE: below}, path)
            own |= dict.fromkeys(names, found)
    merged: dict[str, Any] = _merged(below, own)
    return merged


def _assignments(tree: ast.Module, path: Path) -> list[tuple[list[str], ast.expr]]:
    found = []
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):  # a docstring
            continue
        if isinstance(node, ast.Delete) or (isinstance(node, ast.Import) and len(node.names) == 1):
            continue  # what is not assigned is not needed; a name that is used and missing is an error below
        if isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets):
            found.append(([target.id for target in node.targets if isinstance(target, ast.Name)], node.value))
        else:
            raise _no_data(node, path)
    return found


def _no_data(node: ast.AST, path: Path) -> UserError:
    line = getattr(node, 'lineno', 0)
    text = ast.unparse(node).splitlines()[0][:70]
    return UserError(
        'this configuration holds code, which is not executed',
        where=f'{path}:{line}',
        value=text,
        fix='a configuration of assignments: the one that mmagic itself writes beside its checkpoints is such a one',
    )


def _value(node: ast.expr, known: dict[str, Any], path: Path) -> Any:
    def value(inner: ast.expr) -> Any:
        return _value(inner, known, path)

    if isinstance(node, ast.Constant):
        return _from_base(node.value, known)
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return [value(item) for item in node.elts]
    if isinstance(node, ast.Dict) and all(key is not None for key in node.keys):
        return {value(key): value(item) for key, item in zip(node.keys, node.values, strict=True) if key is not None}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        return _dict(node, value, path)
    if isinstance(node, ast.Name) and node.id in known:
        return known[node.id]
    if isinstance(node, ast.JoinedStr):
        return ''.join(_part(item, value, path) for item in node.values)
    if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        return _UNARY[type(node.op)](value(node.operand))
    try:
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            left, right = value(node.left), value(node.right)
            if isinstance(node.op, ast.Mult | ast.Pow | ast.Mod) and not _small(left, right, node.op):
                raise _no_data(node, path)
            return _BINARY[type(node.op)](left, right)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            return value(node.value)[node.slice.value]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            return value(node.value)[node.attr]  # _base_.model
    except (TypeError, KeyError, IndexError, ArithmeticError) as error:
        raise UserError('configuration cannot be read', where=f'{path}:{node.lineno}', value=error) from error
    raise _no_data(node, path)


def _small(left: Any, right: Any, op: ast.operator) -> bool:
    """Whether arithmetic gives something of a size that configurations have."""
    if isinstance(op, ast.Pow):
        return isinstance(left, int | float) and isinstance(right, int | float) and abs(right) <= 64 and abs(left) < 1e6
    if isinstance(op, ast.Mod):
        return isinstance(left, int | float)
    lengths = [len(x) for x in (left, right) if isinstance(x, list | str)]
    numbers = [x for x in (left, right) if isinstance(x, int | float)]
    return not lengths or not numbers or lengths[0] * abs(numbers[0]) < LARGEST


def _from_base(constant: Any, known: dict[str, Any]) -> Any:
    """``'{{_base_.name.key}}'`` stands for a value of the files below."""
    match = re.fullmatch(r'\{\{\s*_base_\.([\w.]+)\s*\}\}', constant) if isinstance(constant, str) else None
    if match is None:
        return constant
    found: Any = known.get(BASE, {})
    for part in match[1].split('.'):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _dict(node: ast.Call, value: Callable[[ast.expr], Any], path: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for argument in node.args:
        inner = value(argument)
        if not isinstance(inner, dict):
            raise _no_data(node, path)
        found |= inner
    for keyword in node.keywords:
        if keyword.arg is None:  # dict(**other)
            inner = value(keyword.value)
            if not isinstance(inner, dict):
                raise _no_data(node, path)
            found |= inner
        else:
            found[keyword.arg] = value(keyword.value)
    return found


def _part(node: ast.expr, value: Callable[[ast.expr], Any], path: Path) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.FormattedValue) and node.conversion == -1 and node.format_spec is None:
        return str(value(node.value))
    raise _no_data(node, path)


def _merged(below: Any, above: Any) -> Any:
    """Mappings are merged key by key, unless the upper one has ``_delete_=True``; of all else the upper one counts."""
    if not isinstance(above, dict):
        return above
    above = dict(above)
    if above.pop(DELETE, False) or not isinstance(below, dict):
        return {key: _merged(None, value) for key, value in above.items()}
    return {**below, **{key: _merged(below.get(key), value) for key, value in above.items()}}
