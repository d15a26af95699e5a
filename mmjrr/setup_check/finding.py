"""One thing that a config needs, and whether it is there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FOUND, MISSING, WRONG, OPTIONAL = 'found', 'missing', 'wrong', 'optional'


@dataclass(frozen=True)
class Finding:
    """One thing that a config needs.

    Args:
        state: 'found', 'missing', 'wrong', or 'optional': missing, and the run goes without it.
        kind: 'package', 'body', 'regressor', 'annotation', ...
        name: which one: its name, or its path.
        detail: what was found.
        mend: the command or page that mends it.
    """

    state: str
    kind: str
    name: str
    detail: str = ''
    mend: str = ''

    @property
    def bad(self) -> bool:
        return self.state in (MISSING, WRONG)


def look_up(
    kind: str, name: Any, look: Callable[[], str], mend: str = '', optional: bool = False
) -> Finding:
    """What ``look`` says, or what it raised."""
    try:
        return Finding(FOUND, kind, str(name), look())
    except (FileNotFoundError, ModuleNotFoundError) as error:
        # What goes on after the first clause says where to get it, as ``mend`` does.
        text = re.split(r'\. |; ', _line(error, name))[0]
        return Finding(OPTIONAL if optional else MISSING, kind, str(name), text, mend)
    except Exception as error:  # anything a broken file or environment can bring up is a finding
        return Finding(WRONG, kind, str(name), _line(error, name), mend)


def _line(error: Exception, name: Any) -> str:
    """Its text in a line, without the name that stands before it in the table."""
    text = ' '.join(str(error).split()).removeprefix(f'{name}: ') or type(error).__name__
    return text if len(text) < 400 else text[:400] + ' ...'
