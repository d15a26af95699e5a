"""Location of the configs and tools that come with the package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]

#: Folder that contains ``configs`` and ``tools``: the checkout, or ``.mim`` in an installed wheel.
ROOT = _PACKAGE.parent if (_PACKAGE.parent / 'configs').is_dir() else _PACKAGE / '.mim'
