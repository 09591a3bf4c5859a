"""`votes completion bash|zsh`: a script by which the shell completes verbs, options and the names that they take."""

from __future__ import annotations

import argparse
import shlex

from votes import __version__, registry
from votes.commands.verbs import VERBS, arguments_of, parsers
from votes.options.reference import keys

BASH = """\
# Completion of votes {version} for bash. In ~/.bashrc:  source <(votes completion bash)
_votes() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
    local command=${{COMP_WORDS[1]}} given= options= single= many= plain= place
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        COMPREPLY=($(compgen -W {verbs} -- "$word"))
        return
    fi
    case $command in
{inner}
    esac
    for ((place = COMP_CWORD - 1; place > 1; place--)); do
        if [[ ${{COMP_WORDS[place]}} == -* ]]; then given=${{COMP_WORDS[place]}}; break; fi
    done
    case $command in
{cases}
    esac
    if [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$word"))
    elif [[ $before == = || $word == = ]]; then
        return
    elif [ -n "$single$many" ]; then
        COMPREPLY=($(compgen -W "$single$many" -- "$word"))
    elif [[ $before != -* ]]; then
        COMPREPLY=($(compgen -W "$plain" -- "$word"))
    fi
    if [[ ${{COMPREPLY[0]}} == *= ]]; then compopt -o nospace; fi
}}
complete -o default -F _votes votes
"""

ZSH = """\
#compdef votes
# Completion of votes {version} for zsh. In ~/.zshrc, after compinit:  source <(votes completion zsh)
_votes() {{
    local -a verbs
    verbs=(
{verbs}
    )
    if (( CURRENT == 2 )); then
        _describe verb verbs
        return
    fi
    local command=$words[2]
    shift words
    (( CURRENT-- ))
    case $command in
{inner}
    esac
    case $command in
{cases}
    esac
}}
compdef _votes votes
"""


def values_of(action: argparse.Action) -> list[str]:
    """Words that an argument takes; none where it is a file, a number or a name of the user's own."""
    if action.choices:
        return [str(choice) for choice in action.choices]
    if action.dest == 'overrides':
        return [f'{key.name}=' for key in keys() if 'section' not in key.kind and 'arguments' not in key.kind]
    networks = list(registry.NETWORKS.names())
    names = [name for kind in registry.registries() for name in kind.names()]
    known = {'network': networks, 'names': networks, 'word': [*names, *(key.name for key in keys())]}
    return known.get(action.dest, [])


def _inner(add: str) -> str:
    """Lines that make `command` 'checkpoint inspect' where a verb has verbs of its own, and complete those."""
    inner: dict[str, list[str]] = {}
    for name in parsers():
        verb, _, word = name.partition(' ')
        if word:
            inner.setdefault(verb, []).append(word)
    return '\n'.join(f'    {verb})\n{add.format(words=" ".join(words))}\n        ;;' for verb, words in inner.items())


def bash() -> str:
    """The script for bash."""
    cases = []
    for name, parser in parsers().items():
        actions = arguments_of(parser)
        options = ' '.join(option for action in actions for option in action.option_strings)
        plain = ' '.join(word for a in actions if not a.option_strings for word in values_of(a))
        lines = [f'        options={shlex.quote(options)}', f'        plain={shlex.quote(plain)}']
        for where, variable, kinds in (('before', 'single', (None, '?')), ('given', 'many', ('+', '*'))):
            rows = [
                f'        {"|".join(a.option_strings)}) {variable}={shlex.quote(" ".join(values_of(a)))} ;;'
                for a in actions
                if a.option_strings and a.nargs in kinds and values_of(a)
            ]
            lines += [f'        case ${where} in', *rows, '        esac'] if rows else []
        cases.append(f'    {shlex.quote(name)})\n' + '\n'.join(lines) + '\n        ;;')
    add = (
        '        if [ "$COMP_CWORD" = 2 ]; then COMPREPLY=($(compgen -W "{words}" -- "$word")); return; fi\n'
        '        command="$command ${{COMP_WORDS[2]}}"'
    )
    verbs = shlex.quote(' '.join(VERBS))
    return BASH.format(version=__version__, verbs=verbs, inner=_inner(add), cases='\n'.join(cases))


def zsh() -> str:
    """The script for zsh, with what each verb and option does."""
    cases = []
    for name, parser in parsers().items():
        specs = [spec for action in arguments_of(parser) for spec in _specs(action)]
        lines = [f'        _arguments {" ".join(map(shlex.quote, specs))}'] if specs else ['        return 0']
        cases.append(f'    {shlex.quote(name)})\n' + '\n'.join(lines) + '\n        ;;')
    add = (
        '        if (( CURRENT == 2 )); then compadd -- {words}; return; fi\n'
        '        command="$command $words[2]"\n        shift words\n        (( CURRENT-- ))'
    )
    verbs = '\n'.join('        ' + shlex.quote(f'{name}:{verb.text}') for name, verb in VERBS.items())
    return ZSH.format(version=__version__, verbs=verbs, inner=_inner(add), cases='\n'.join(cases))


def _specs(action: argparse.Action) -> list[str]:
    """An argument as zsh's `_arguments` takes it."""

    def plain(text: str) -> str:
        return ''.join(f'\\{c}' if c in '[]:\\' else c for c in text)

    words = values_of(action)
    what = f'({" ".join(words)})' if words else '_files'
    if words and words[0].endswith('='):  # the value follows at once
        what = f'{{compadd -S "" -- {" ".join(words)}}}'
    value = f':{plain(str(action.metavar or action.dest))}:{what}'
    if not action.option_strings:
        many = action.nargs in ('+', '*', argparse.REMAINDER)
        return [f'*{value}' if many else f'{":" if action.nargs == "?" else ""}{value}']
    value = '' if action.nargs == 0 else f':*-*{value}' if action.nargs in ('+', '*') else value
    repeat = '*' if action.nargs == '+' or isinstance(action, argparse._AppendAction) else ''
    return [f'{repeat}{option}[{plain(action.help or "")}]{value}' for option in action.option_strings]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('shell', choices=('bash', 'zsh'), help='prints its script: source <(votes completion bash)')


def run(args: argparse.Namespace) -> int:
    print(bash() if args.shell == 'bash' else zsh(), end='')
    return 0
