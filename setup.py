"""Puts the option files into a wheel; everything else about the package stands in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithOptionFiles(build_py):
    """A checkout has options/ beside the package; an installed package has it inside, see votes/options/shipped.py."""

    def run(self):
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, 'votes', 'options', 'files')
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree('options', target)


setup(cmdclass={'build_py': BuildWithOptionFiles})
