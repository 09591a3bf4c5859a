"""What the jobs of a study were made from, and why they ran again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from votes import checkpoint
from votes.errors import UserError


def lineage_of_study(folder: Path) -> list[str]:
    """Lines on each job: how it ended, the code, the jobs, files and data it was made from, what it made, its runs.

    Raises:
        UserError: no job is recorded there, or a record cannot be read.
    """
    records = sorted((folder / 'jobs').glob('*.json'), key=lambda path: path.stat().st_mtime)
    if not records:
        raise UserError('no history of a study', where=folder, fix='studies/NAME of votes reproduce')
    lines = [str(folder)]
    for path in records:
        try:
            content = checkpoint.read_record(path, unsigned=True)
        except ValueError as error:
            raise UserError('the record of a job cannot be read', where=path, value=error) from error
        lines += _job(folder, path.stem, content)
    return lines


def _job(folder: Path, name: str, content: dict[str, Any]) -> list[str]:
    reason = f' ({content["reason"]})' if content.get('reason') else ''
    lines = [f'  {name}: {content.get("state")}{reason}']
    record = content.get('record')
    if record is None:
        return lines
    lines.append(f'    by votes {record["code"]}, key {record["key"][:12]}')
    lines += [f'    from {job} (key {key[:12]})' for job, key in record['made_from'].items()]
    lines += [f'    from {key} (sha256 {digest[:12]})' for key, digest in record['files'].items()]
    for key, data in record['data'].items():
        what = 'files' if data['kind'] == 'folder' else 'clips'
        lines.append(f'    from {key}: {len(data["clips"])} {what} (digest {data["digest"][:12]})')
    for made, digest in content.get('made', {}).items():
        path = folder / made
        now = checkpoint.sha256(path) if path.is_file() else None
        state = 'as it was' if now == digest else 'gone' if now is None else 'CHANGED since'
        lines.append(f'    made {made} (sha256 {digest[:12]}, {state})')
    for entry in content.get('history', []):
        lines += [f'    {entry["time"]}  {"ran again" if entry["why"] else "ran"}']
        lines += [f'      {why}' for why in entry['why']]
    return lines
