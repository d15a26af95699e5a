"""Scripts of ``tools/`` as modules, for tests of their functions."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

TOOLS = Path(__file__).resolve().parents[1] / 'tools'


def load_tool(path: str) -> ModuleType:
    """Import ``tools/PATH``."""
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, TOOLS / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
