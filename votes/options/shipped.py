"""Where the option files are that come with this project: the one place that knows."""

from __future__ import annotations

from pathlib import Path

INSTALLED = Path(__file__).with_name('files')  # setup.py puts them here in a wheel
CHECKOUT = Path(__file__).resolve().parents[2] / 'options'


def shipped() -> Path:
    """The folder with train/, test/, finetune/, degrade/ and studies/."""
    return INSTALLED if INSTALLED.is_dir() else CHECKOUT


def option_file(path: str | Path) -> Path:
    """`path`, or where it begins with options/ and is not there, the file of that name that comes with this project.

    So what the documentation says works in any folder, also where the package was installed without its source.
    """
    path = Path(path)
    if path.exists() or path.parts[:1] != ('options',):
        return path
    found = shipped().joinpath(*path.parts[1:])
    return found if found.is_file() else path
