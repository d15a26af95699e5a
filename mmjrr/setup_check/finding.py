"""Findings about things that a config needs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FOUND, MISSING, WRONG, OPTIONAL = 'found', 'missing', 'wrong', 'optional'


@dataclass(frozen=True)
class Finding:
    """Finding about one thing that a config needs.

    Attributes:
        state: 'found', 'missing', 'wrong', or 'optional' (missing, but a run does without it).
        kind: Kind of the thing, such as 'package', 'body', 'regressor' or 'annotation'.
        name: Its name or path.
        detail: What was found.
        fix: Command or page that fixes it.
    """

    state: str
    kind: str
    name: str
    detail: str = ''
    fix: str = ''

    @property
    def bad(self) -> bool:
        """Whether a run needs the thing and cannot use it."""
        return self.state in (MISSING, WRONG)


def look_up(
    kind: str, name: Any, look: Callable[[], str], fix: str = '', optional: bool = False
) -> Finding:
    """Make the finding of a function that describes a thing, or raises.

    Args:
        kind: Kind of the thing.
        name: Its name or path.
        look: Function that returns a description.
        fix: Command or page that provides the thing.
        optional: Whether a run does without it.
    """
    try:
        return Finding(FOUND, kind, str(name), look())
    except (FileNotFoundError, ModuleNotFoundError) as error:
        # The first clause alone: the rest says where to get it, as ``fix`` does.
        text = re.split(r'\. |; ', _line(error, name))[0]
        return Finding(OPTIONAL if optional else MISSING, kind, str(name), text, fix)
    except Exception as error:  # whatever a broken file or environment raises is a finding
        return Finding(WRONG, kind, str(name), _line(error, name), fix)


def _line(error: Exception, name: Any) -> str:
    """Return the message in one line, without the name, which the table shows before it."""
    text = ' '.join(str(error).split()).removeprefix(f'{name}: ') or type(error).__name__
    return text if len(text) < 400 else text[:400] + ' ...'
