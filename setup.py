"""Packaging. Configs, tools and metafiles go into ``mmjrr/.mim``, where ``mim`` looks for them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
MIM_SOURCES = ('tools', 'configs', 'model-index.yml')


def version() -> str:
    scope: dict[str, str] = {}
    exec((ROOT / 'mmjrr' / 'version.py').read_text(), scope)
    return scope['__version__']


def requirements(name: str) -> list[str]:
    lines = (ROOT / 'requirements' / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith(('#', '-r'))]


def add_mim_extension() -> None:
    """Link (editable install) or copy (wheel, sdist) what ``mim`` needs, as MMPose does."""
    link = 'develop' in sys.argv or 'editable_wheel' in sys.argv
    if not link and not {'sdist', 'bdist_wheel', 'install'} & set(sys.argv):
        return
    mim = ROOT / 'mmjrr' / '.mim'
    shutil.rmtree(mim, ignore_errors=True)
    mim.mkdir(parents=True)
    for name in MIM_SOURCES:
        source, target = ROOT / name, mim / name
        if not source.exists():
            continue
        if link:
            target.symlink_to(Path('..') / '..' / name)
        elif source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy2(source, target)


if __name__ == '__main__':
    add_mim_extension()
    setup(
        name='mmjrr',
        version=version(),
        description='Correct and learn the joint regressors of SMPL-based pose evaluation',
        long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
        long_description_content_type='text/markdown',
        license='Apache-2.0',
        packages=find_packages(include=['mmjrr', 'mmjrr.*']),
        package_data={
            'mmjrr': ['.mim/**/*', '.mim/*', '**/data/*'],
            'mmjrr.body_models': ['data/*'],
            'mmjrr.regressors': ['data/*'],
        },
        include_package_data=True,
        python_requires='>=3.10',
        install_requires=requirements('runtime.txt'),
        classifiers=[
            'License :: OSI Approved :: Apache Software License',
            'Programming Language :: Python :: 3',
            'Topic :: Scientific/Engineering :: Image Recognition',
        ],
    )
