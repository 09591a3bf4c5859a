"""What MkDocs is told beside mkdocs.yml: pages that lie outside of docs/, the notebook as a page, links to files."""

import json
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {'README.md': 'index.md', 'CONTRIBUTING.md': 'contributing.md', 'CHANGELOG.md': 'changes.md'}


def on_files(files, config):
    """Adds the pages that lie outside, and the notebook."""
    for source, name in OUTSIDE.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text()))
    for notebook in sorted((ROOT / 'docs').glob('*.ipynb')):
        files.append(File.generated(config, f'{notebook.stem}.md', content=as_markdown(notebook)))
        files.remove(files.get_file_from_path(notebook.name))
    return files


def as_markdown(notebook):
    """A notebook's texts and code; its outputs are made by who runs it."""
    cells = json.loads(notebook.read_text())['cells']
    parts = [(cell['cell_type'], ''.join(cell['source'])) for cell in cells]
    return '\n\n'.join(text if kind == 'markdown' else f'```python\n{text}\n```' for kind, text in parts) + '\n'


def on_page_markdown(markdown, page, config, files):
    """Links between pages; what is no page of the site is named instead of linked."""
    inside = page.file.src_uri in OUTSIDE.values()
    base = ROOT if inside else ROOT / 'docs'

    def link(found):
        text, target, anchor = found.groups()
        path = (base / target).resolve()
        name = path.relative_to(ROOT).as_posix()
        known = OUTSIDE.get(name, name.removeprefix('docs/')).replace('.ipynb', '.md')
        return f'[{text}]({known}{anchor or ""})' if files.get_file_from_path(known) else text

    return re.sub(r'\[([^\]]*)\]\((?!https?:)([^)#\s]+)(#[^)]*)?\)', link, markdown)
