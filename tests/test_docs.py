"""What the README and the documentation say is what was measured, and what there is; their commands are right."""

import functools
import importlib.util
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from docs_commands import PAGES, ROOT, all_commands, blocks

import votes
from votes.commands.metrics import Protocol
from votes.commands.verbs import parsers
from votes.export.graphs import CLIP
from votes.options.reference import keys
from votes.studies.study import Study
from votes.video.read import RATE

LINKED = [*PAGES, ROOT / 'CHANGELOG.md']
COMMANDS = all_commands()
MKDOCS = ROOT / 'build' / 'docs_env' / 'bin' / 'mkdocs'
PARSERS = parsers()
# what a default is called in help where the parser leaves it to the program
WHERE_NOT_GIVEN = {'rate': RATE, 'crop': Protocol.crop_border, 'frames': CLIP}
ANY = re.compile(r'NAME|MyNet|\*')  # what a reader puts their own name for


def test_tables_are_those_of_the_results():
    code = 'import sys, tables; t = [p.read_text() for p in tables.pages()]; sys.exit(tables.filled(t) != t)'
    command = [sys.executable, '-c', code]
    done = subprocess.run(command, cwd=ROOT / 'benchmarks', capture_output=True, text=True, check=False)
    assert done.returncode == 0, f'python benchmarks/tables.py writes them anew\n{done.stderr}'


def test_the_readme_is_short():
    assert len((ROOT / 'README.md').read_text().splitlines()) <= 150


@pytest.mark.parametrize('page', [p for p in PAGES if p.parent == ROOT / 'docs'], ids=lambda page: page.name)
def test_a_page_begins_with_what_it_is_for(page):
    title, empty, first = page.read_text().splitlines()[:3]
    assert title.startswith('# ')
    assert not empty
    assert first.startswith('For who ')


def anchors(page):
    """What links may name after #."""
    titles = re.findall(r'^#+ (.+)$', re.sub(r'^```.*?^```', '', page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


@pytest.mark.parametrize('page', LINKED, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text()
    for target, anchor in re.findall(r'\]\((?!https?:)([^)#\s]*)(?:#([^)]*))?\)', text):
        path = page.parent / target if target else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f'{target}#{anchor}'
    for path in set(re.findall(r'`((?:options|scripts|tests|benchmarks|votes|docs)/[\w/.-]+)`', text)):
        known = (ROOT / path).exists() or (ROOT / 'votes' / path).exists()
        assert known or ANY.search(path) or '/name_' in path or '/test_name' in path, path


@functools.cache
def option_keys():
    """Patterns of keys that --set takes; a section with a `type` takes the arguments of what it names."""
    found = []
    for key in keys():
        pattern = re.escape(key.name).replace('NAME', r'\w+')
        found.append(pattern + (r'(\.\w+)*' if key.kind.endswith('arguments') else ''))
    return re.compile('|'.join(found))


@pytest.mark.parametrize('command', COMMANDS, ids=lambda c: f'{c.page}-{c.line}')
def test_a_command_is_right(command):
    """Its verb takes these arguments, and the files of this project that it names are there."""
    words = command.words
    program, *rest = words
    if program == 'votes':
        if rest[0] in ('--help', '--version'):
            return
        name = next((n for n in (' '.join(rest[:2]), rest[0]) if n in PARSERS), None)
        assert name, f'there is no verb {rest[0]}'
        given = PARSERS[name].parse_args(rest[len(name.split()) :])
        for override in getattr(given, 'overrides', []):
            key = override.partition('=')[0]
            of_a_study = name == 'reproduce' and key.partition('.')[0] in Study.model_fields
            assert of_a_study or option_keys().fullmatch(key), override
    elif program in ('bash', 'sbatch') or (program == 'python' and rest[0].endswith('.py')):
        assert (ROOT / rest[0]).is_file(), rest[0]
    elif program == 'python' and rest[0] == '-m':
        assert importlib.util.find_spec(rest[1]), rest[1]
    elif program == 'pip':
        known = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['optional-dependencies']
        assert all(extra in known for word in rest for extra in re.findall(r'\[(\w+)\]', word))
    for word in words[1:]:
        if re.match(r'(options|scripts|tests|benchmarks|votes)/', word) and not ANY.search(word):
            assert (ROOT / word).exists(), word


@pytest.mark.parametrize('verb', PARSERS)
def test_a_default_in_a_help_is_that_of_its_parser(verb):
    for action in PARSERS[verb]._actions:
        told = re.search(r'\bdefault:? ([^;)]+)', action.help or '')
        if told and (action.default or told[1][0].isdigit()):  # a port 0 is told as one that is free
            default = WHERE_NOT_GIVEN[action.dest] if action.default is None else action.default
            assert told[1] == (f'{default:g}' if isinstance(default, float) else str(default)), action.dest


def test_torch_is_the_one_that_is_installed():
    pinned = re.search(r'^torch==.+$', (ROOT / 'requirements.txt').read_text(), re.M)[0]
    assert {pinned} == {found for page in PAGES for found in re.findall(r'\btorch==[\d.]*\d', page.read_text())}


def yaml_blocks():
    return [
        pytest.param(page, '\n'.join(lines), id=f'{page.name}-{first}')
        for page in PAGES
        for language, first, lines in blocks(page)
        if language == 'yaml'
    ]


@pytest.mark.parametrize(('page', 'text'), yaml_blocks())
def test_a_piece_of_an_option_file_is_right(page, text):
    content = yaml.safe_load(text)
    if not {'steps', 'generations'} & set(content):  # those are recipes
        known = option_keys()
        for key in flat(content):
            assert key == 'base' or known.fullmatch(key), key
        assert 'base' not in content or (ROOT / content['base']).is_file()


def flat(content, prefix=''):
    for key, value in content.items():
        if isinstance(value, dict):
            yield from flat(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}'


def test_sections_with_a_type_are_known():
    """`option_keys` relies on this word of the reference."""
    assert any(key.kind.endswith('arguments') for key in keys())


def test_python_blocks_are_python():
    for page in PAGES:
        for language, first, lines in blocks(page):
            if language == 'python':
                compile('\n'.join(lines), f'{page.name}:{first}', 'exec')


def test_the_site_has_every_page():
    """mkdocs.yml names each page of docs/, once."""
    text = (ROOT / 'mkdocs.yml').read_text()
    named = re.findall(r'^ +- (\S+\.md)$', text, re.M)
    docs = [p.with_suffix('.md') for p in (ROOT / 'docs').rglob('*') if p.suffix in ('.md', '.ipynb')]
    pages = [str(p.relative_to(ROOT / 'docs')) for p in docs]
    assert sorted(named) == sorted([*pages, 'index.md', 'contributing.md', 'changes.md'])


def test_the_reference_of_python_names_what_there_is():
    for name in re.findall(r'^::: (\S+)$', (ROOT / 'docs' / 'api.md').read_text(), re.M):
        module, _, attribute = name.rpartition('.')
        found = importlib.util.find_spec(name) if not attribute[:1].isupper() and _is_module(name) else None
        assert found or hasattr(importlib.import_module(module), attribute), name


def _is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def test_who_cites_names_this_version():
    about = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert about['version'] == votes.__version__
    assert f'## {votes.__version__}' in (ROOT / 'CHANGELOG.md').read_text()
    assert about['preferred-citation']['authors']


def test_who_reports_a_problem_is_asked_for_the_doctor():
    for form in (ROOT / '.github' / 'ISSUE_TEMPLATE').glob('*.yml'):
        content = yaml.safe_load(form.read_text())
        if form.stem != 'config':
            assert 'votes doctor' in [part['attributes']['label'] for part in content['body']], form.name


@pytest.mark.long
@pytest.mark.skipif(not MKDOCS.is_file(), reason='scripts/docs.sh has not installed MkDocs')
def test_the_site_is_built(tmp_path):
    command = [str(MKDOCS), 'build', '--strict', '--quiet', '--site-dir', str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'degradation map' in (tmp_path / 'tutorial.html').read_text()
    assert 'tutorial.html' in (tmp_path / 'index.html').read_text()
