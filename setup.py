"""Packaging. Configs, tools and metafiles go into ``mmjrr/.mim``, where ``mim`` looks for them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM_SOURCES = ('tools', 'configs', 'model-index.yml')


def version() -> str:
    scope: dict[str, str] = {}
    exec((ROOT / 'mmjrr' / 'version.py').read_text(), scope)
    return scope['__version__']


def requirements(name: str) -> list[str]:
    lines = (ROOT / 'requirements' / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith(('#', '-r'))]


class BuildWithMim(build_py):
    """Puts what ``mim`` needs into ``mmjrr/.mim``, as MMPose does.

    An editable install links it into the source tree; a wheel gets copies, which are made in the
    build folder and so leave the tree, and the links of an editable install of it, alone.
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


if __name__ == '__main__':
    if 'develop' in sys.argv:  # pip's old way of editable installs, which builds nothing
        link_mim(ROOT / 'mmjrr' / '.mim')
    setup(
        name='mmjrr',
        version=version(),
        description='Correct and learn the joint regressors of SMPL-based pose evaluation',
        long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
        long_description_content_type='text/markdown',
        license='Apache-2.0',
        packages=find_packages(include=['mmjrr', 'mmjrr.*']),
        package_data={'mmjrr.body_models': ['data/*'], 'mmjrr.regressors': ['data/*']},
        cmdclass={'build_py': BuildWithMim},
        entry_points={'console_scripts': ['mmjrr = mmjrr.cli.main:main']},
        python_requires='>=3.10',
        install_requires=requirements('runtime.txt'),
        extras_require={'conversion': requirements('conversion.txt')},
        classifiers=[
            'License :: OSI Approved :: Apache Software License',
            'Programming Language :: Python :: 3',
            'Topic :: Scientific/Engineering :: Image Recognition',
        ],
    )
