"""The reference of options is that of the schema, and every key says what it does."""

import re
from pathlib import Path

import pytest

from votes.cli import main
from votes.options.reference import document, explain, keys

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'options.md'


def test_the_page_is_that_of_the_schema():
    assert PAGE.read_text() == document(), 'python -m votes.options.reference > docs/options.md'


def test_every_key_says_what_it_does():
    assert not [key.name for key in keys() if not key.meaning]
    assert len({key.name for key in keys()}) == len(list(keys()))


def test_the_page_and_explain_say_the_same():
    section = ''
    for line in PAGE.read_text().splitlines():
        section = line[3:] if line.startswith('## ') else section
        cells = re.split(r' (?<!\\)\| ', line.strip('| ')) if section and line.startswith('| `') else None
        if cells:
            name, kind, default, meaning = cells
            name = name.strip('`') if section == 'top' else f'{section}.{name.strip("`")}'
            said = f'{name}: {meaning}\n  takes {kind}; default {default}'.replace('\\|', '|')
            assert said in explain(name), name


@pytest.mark.parametrize(
    ('word', 'said'),
    [
        ('train.parts.NAME.freeze', 'not in the first N iterations'),
        ('grad_clip', 'largest norm'),
        ('EDVR', 'num_reconstruct_block'),
        ('CharbonnierLoss', 'epsilon'),
    ],
)
def test_explain(word, said, capsys):
    assert main(['explain', word]) == 0
    assert said in capsys.readouterr().out


def test_explain_what_is_not_there(capsys):
    assert main(['explain', 'gradclip']) == 2
    assert 'grad_clip' in capsys.readouterr().err
