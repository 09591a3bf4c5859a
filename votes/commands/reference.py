"""The reference of commands, made of their parsers: `python -m votes.commands.reference > docs/commands.md`."""

from __future__ import annotations

import argparse
import itertools

from votes.commands.verbs import EXAMPLES, VERBS, arguments_of, parsers

INTRO = """# Commands

For who types `votes` commands: every verb with all that it takes. `votes VERB --help` prints the same on the terminal,
`votes completion bash` and `votes completion zsh` print what makes the Tab key complete it. Exit codes: 0 done, 2 bad
input, 75 stopped on request and saved (the same command goes on); where a verb uses 1 or 3, its line says so. This page
is made of the parsers: `python -m votes.commands.reference > docs/commands.md`.
"""


def _takes(action: argparse.Action) -> str:
    """An argument as it is typed, such as `--set KEY=VALUE ...`."""
    if action.option_strings and action.nargs == 0:
        return ', '.join(f'`{name}`' for name in action.option_strings)
    value = action.metavar or ('|'.join(map(str, action.choices)) if action.choices else action.dest.upper())
    many = ' ...' if action.nargs in ('+', '*', argparse.REMAINDER) and value != '...' else ''
    if action.option_strings:
        return ', '.join(f'`{name} {value}{many}`' for name in action.option_strings)
    return f'`[{value}]`' if action.nargs == '?' else f'`{value}{many}`'


def _meaning(action: argparse.Action) -> str:
    text = action.help or ''
    told = action.default in (None, False, [], argparse.SUPPRESS) or 'default' in text or text.startswith('auto:')
    if action.choices and action.metavar and not all(str(c) in text for c in action.choices):
        text += f' ({", ".join(map(str, action.choices))})'
    text += '; needed' if action.option_strings and action.required else ''
    return text if told or not action.option_strings else f'{text} (default {action.default})'


def document() -> str:
    """docs/commands.md."""
    lines = [INTRO]
    known = parsers()
    for group, verbs in itertools.groupby(VERBS.items(), lambda item: item[1].group):
        lines.append(f'\n## {group}\n\n```bash\n{EXAMPLES[group]}\n```\n')
        for verb, about in verbs:
            lines.append(f'\n### votes {verb}\n\n{about.text[0].upper()}{about.text[1:]}.\n')
            for name, parser in known.items():
                if name.split()[0] == verb:
                    lines += [f'\n`votes {name}`: {parser.description or ""}\n'] if name != verb else []
                    lines += _table(parser)
    return ''.join(lines)


def _table(parser: argparse.ArgumentParser) -> list[str]:
    rows = [(_takes(action), _meaning(action)) for action in arguments_of(parser)]
    cells = [' | '.join(cell.replace('|', '\\|') for cell in row) for row in rows]
    return ['\n| argument | what |\n|---|---|\n', *(f'| {row} |\n' for row in cells)] if rows else []


if __name__ == '__main__':
    print(document(), end='')
