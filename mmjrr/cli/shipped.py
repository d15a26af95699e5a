"""The configs and tools that come with the package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]

#: Folder of ``configs`` and ``tools``: the checkout, or what a wheel carries for ``mim``.
ROOT = _PACKAGE.parent if (_PACKAGE.parent / 'configs').is_dir() else _PACKAGE / '.mim'
