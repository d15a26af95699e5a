"""Packaging of configs, tools and metafiles into ``mmjrr/.mim``, where ``mim`` looks for them.

The project's metadata is in pyproject.toml.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import setuptools
from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM_SOURCES = ('tools', 'configs', 'model-index.yml')


class BuildWithMim(build_py):
    """A build step that puts configs, tools and metafiles into ``mmjrr/.mim``, as MMPose does.

    An editable install links them into the source tree. A wheel gets copies, which are made in the
    build folder, so that the source tree and its links stay as they are.
    """

    def run(self) -> None:
        """Build, then provide the files for ``mim``."""
        super().run()
        if getattr(self, 'editable_mode', False):
            link_mim(ROOT / 'mmjrr' / '.mim')
        else:
            copy_mim(Path(self.build_lib) / 'mmjrr' / '.mim')


def link_mim(mim: Path) -> None:
    """Fill ``mim`` with links to the source tree."""
    shutil.rmtree(mim, ignore_errors=True)
    mim.mkdir(parents=True)
    for name in MIM_SOURCES:
        (mim / name).symlink_to(Path('..') / '..' / name)


def copy_mim(mim: Path) -> None:
    """Fill ``mim`` with copies."""
    shutil.rmtree(mim, ignore_errors=True)
    mim.mkdir(parents=True)
    for name in MIM_SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, mim / name, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy2(source, mim / name)


def metadata_of_pyproject() -> dict[str, Any]:
    """Return pyproject.toml's metadata as arguments, for setuptools older than 64.

    Such a setuptools does not read that table; openmim requires one. It serves an install with
    ``--no-build-isolation``; otherwise pip takes a current setuptools.
    """
    try:
        import tomllib
    except ImportError:  # Python 3.10
        from pip._vendor import tomli as tomllib
    document = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))
    project, tool = document['project'], document['tool']['setuptools']

    def lines(files: list[str]) -> list[str]:
        texts = [(ROOT / file).read_text(encoding='utf-8') for file in files]
        requirements = [line.split('#')[0].strip() for text in texts for line in text.splitlines()]
        return [requirement for requirement in requirements if requirement]

    version: dict[str, str] = {}
    exec((ROOT / 'mmjrr' / 'version.py').read_text(encoding='utf-8'), version)
    dynamic = tool['dynamic']
    return dict(
        name=project['name'],
        version=version['__version__'],
        description=project['description'],
        license=project['license']['text'],
        author=project['authors'][0]['name'],
        keywords=project['keywords'],
        classifiers=project['classifiers'],
        python_requires=project['requires-python'],
        packages=find_packages(str(ROOT), include=tool['packages']['find']['include']),
        package_data=tool['package-data'],
        install_requires=lines(dynamic['dependencies']['file']),
        extras_require={
            name: lines(extra['file']) for name, extra in dynamic['optional-dependencies'].items()
        },
        entry_points={
            'console_scripts': [f'{name} = {call}' for name, call in project['scripts'].items()]
        },
    )


if __name__ == '__main__':
    old = int(setuptools.__version__.split('.')[0]) < 64
    if 'develop' in sys.argv:  # an editable install by old versions of pip, which builds nothing
        link_mim(ROOT / 'mmjrr' / '.mim')
    setup(cmdclass={'build_py': BuildWithMim}, **(metadata_of_pyproject() if old else {}))
