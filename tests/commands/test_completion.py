"""Completion in the shells themselves, and the reference of commands."""

import shutil
import subprocess
from pathlib import Path

import pytest

from votes.cli import main
from votes.commands import completion, reference
from votes.commands.verbs import EXAMPLES, VERBS, arguments_of, parsers

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'commands.md'


def test_the_page_is_that_of_the_parsers():
    assert PAGE.read_text() == reference.document(), 'python -m votes.commands.reference > docs/commands.md'


def test_every_argument_says_what_it_is():
    known = parsers()
    assert not [(name, a.dest) for name, parser in known.items() for a in arguments_of(parser) if not a.help]
    assert {name.split()[0] for name in known} == set(VERBS)


def test_every_group_has_an_example_that_is_right():
    assert set(EXAMPLES) == {verb.group for verb in VERBS.values()}
    for group, line in EXAMPLES.items():
        _, verb, *words = line.split()
        parsers()[verb].parse_args(words)
        assert VERBS[verb].group == group


@pytest.fixture(scope='module')
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp('completion') / 'votes.bash'
    path.write_text(completion.bash())
    return path


def completed(script, *words):
    """What bash offers for the last of `words`."""
    typed = ' '.join(f"'{word}'" for word in ('votes', *words))
    code = (
        f'source {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _votes 2>/dev/null; echo "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(['bash', '-c', code], capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ('words', 'offered'),
    [
        (['che'], ['checkpoint', 'check-data', 'check-network']),
        (['restore', 'IN', '--cod'], ['--codec']),
        (['restore', '--codec', 'h'], ['h264', 'h265']),
        (['restore', '--codec', 'h264', ''], []),  # then bash offers files
        (['restore', '--crf', ''], []),
        (['checkpoint', ''], ['inspect', 'verify', 'convert', 'blend', 'join']),
        (['checkpoint', 'verify', '--'], ['--repair']),
        (['train', '-opt', 'F.yml', '--set', 'train.total_'], ['train.total_iter=']),
        (['train', '-opt', 'F.yml', '--set', 'name=x', 'train.total_'], ['train.total_iter=']),
        (['train', '--set', 'name', '=', ''], []),
        (['check-network', 'BasicVSRP'], ['BasicVSRPlusPlus']),
        (['list', 'sch'], ['scheduler']),
        (['new', 'network', 'Mine', '--sees', 'c'], ['clip', 'causal']),
        (['nothing', ''], []),
    ],
)
def test_bash(script, words, offered):
    assert completed(script, *words) == offered


@pytest.mark.skipif(shutil.which('zsh') is None, reason='no zsh')
def test_zsh(tmp_path):
    """What a person sees who presses Tab, in a terminal of zsh's own."""
    (tmp_path / 'votes.zsh').write_text(completion.zsh())
    code = f"""
        zmodload zsh/zpty
        zpty -b shell zsh -f -i
        shows() {{
            zpty -w shell $'\\x15\\n'
            zpty -n -w shell "$1"$'\\t'
            local text=; local -F end=$(( EPOCHREALTIME + 20 ))
            while (( EPOCHREALTIME < end )) && [[ $text != *$2* ]]; do
                if zpty -r -t shell line; then text+=$line; else sleep 0.02; fi
            done
            [[ $text == *$2* ]] || {{ print -r -- "no $2 after $1: $text"; exit 1; }}
        }}
        zmodload zsh/datetime
        zpty -w shell 'stty cols 200; LISTMAX=1000; autoload -U compinit; compinit -u -D; source {tmp_path}/votes.zsh'
        shows 'votes compl' 'completion'
        shows 'votes restore --dein' '--deinterlace'
        shows 'votes restore --codec pro' 'prores'
        shows 'votes checkpoint verify --re' '--repair'
        shows 'votes train --set name=x train.total_' 'total_iter='
        shows 'votes check-network BasicVSRP' 'BasicVSRPlusPlus'
        print good
    """
    done = subprocess.run(['zsh', '-f', '-c', code], capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == 'good', done.stdout + done.stderr


def test_printed_by_the_verb(capsys):
    for shell, first in (('bash', '# Completion'), ('zsh', '#compdef votes')):
        assert main(['completion', shell]) == 0
        assert capsys.readouterr().out.startswith(first)
