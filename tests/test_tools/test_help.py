"""``--help`` of every tool imports nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted(
    path
    for folder in ('.', 'analysis_tools', 'dataset_converters', 'model_converters')
    for path in (ROOT / 'tools' / folder).glob('*.py')
)

#: Prints, for each tool, what it writes for ``--help`` and the heavy modules imported so far.
HELP = """
import contextlib, io, json, runpy, sys
from pathlib import Path

pages = {}
for path in sys.argv[1:]:
    sys.argv = [path, '--help']
    sys.path.insert(0, str(Path(path).parent))
    with contextlib.redirect_stdout(io.StringIO()) as page, contextlib.suppress(SystemExit):
        runpy.run_path(path, run_name='__main__')
    heavy = [m for m in ('torch', 'scipy', 'cv2', 'numba', 'mmengine') if m in sys.modules]
    pages[path] = (page.getvalue(), heavy)
print(json.dumps(pages))
"""


def test_help_imports_nothing_heavy() -> None:
    tools = [str(path) for path in TOOLS]
    done = subprocess.run(
        [sys.executable, '-c', HELP, *tools], capture_output=True, text=True, check=True
    )
    pages = json.loads(done.stdout)
    assert len(pages) > 15
    for path, (page, heavy) in pages.items():
        assert page.startswith('usage: ') and not heavy, (path, heavy)
