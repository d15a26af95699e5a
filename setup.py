"""Packaging of configs, tools and metafiles into ``mmjrr/.mim``, where ``mim`` looks for them.

The project's metadata is in pyproject.toml.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM_SOURCES = ('tools', 'configs', 'model-index.yml')


class BuildWithMim(build_py):
    """A build step that puts configs, tools and metafiles into ``mmjrr/.mim``, as MMPose does.

    An editable install links them into the source tree. A wheel gets copies, which are made in the
    build folder, so that the source tree and its links stay as they are.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            link_mim(ROOT / 'mmjrr' / '.mim')
        else:
            copy_mim(Path(self.build_lib) / 'mmjrr' / '.mim')


def link_mim(mim: Path) -> None:
    shutil.rmtree(mim, ignore_errors=True)
    mim.mkdir(parents=True)
    for name in MIM_SOURCES:
        (mim / name).symlink_to(Path('..') / '..' / name)


def copy_mim(mim: Path) -> None:
    shutil.rmtree(mim, ignore_errors=True)
    mim.mkdir(parents=True)
    for name in MIM_SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, mim / name, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy2(source, mim / name)


def check_setuptools() -> None:
    """Stop where setuptools is too old to read the project's metadata from pyproject.toml."""
    import setuptools

    if int(setuptools.__version__.split('.')[0]) < 64:
        sys.exit(
            f'mmjrr: found setuptools {setuptools.__version__}, expected 64 or newer; run '
            "pip install --upgrade 'setuptools>=64', or install without --no-build-isolation"
        )


if __name__ == '__main__':
    check_setuptools()
    if 'develop' in sys.argv:  # an editable install by old versions of pip, which builds nothing
        link_mim(ROOT / 'mmjrr' / '.mim')
    setup(cmdclass={'build_py': BuildWithMim})
