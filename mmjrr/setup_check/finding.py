"""Findings of the set-up check, and the function that makes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmjrr.errors import DataError

FOUND, MISSING, WRONG, OPTIONAL = 'found', 'missing', 'wrong', 'optional'


@dataclass(frozen=True)
class Finding:
    """Result of the check of one item that a config needs.

    Attributes:
        state: 'found', 'missing', 'wrong', or 'optional' (missing, but not needed for a run).
        kind: Kind of the item, such as 'package', 'body', 'regressor' or 'annotation'.
        name: Name or path of the item.
        detail: Description of the item, or the problem.
        fix: Command or page that fixes the problem.
    """

    state: str
    kind: str
    name: str
    detail: str = ''
    fix: str = ''

    @property
    def bad(self) -> bool:
        """Whether the item prevents a run."""
        return self.state in (MISSING, WRONG)


def as_path(option: str, value: Any) -> Path:
    """Return the value of an option as a path.

    Raises:
        DataError: It is no path.
    """
    if not isinstance(value, (str, Path)):
        raise DataError(f'{option}: found {value!r:.80}, expected a path')
    return Path(value)


def look_up(
    kind: str, name: Any, look: Callable[[], str], fix: str = '', optional: bool = False
) -> Finding:
    """Call a function that checks an item, and return its result or exception as a finding.

    Args:
        kind: Kind of the item.
        name: Name or path of the item.
        look: Function that checks the item. It returns a description, or raises.
        fix: Command or page that provides the item.
        optional: Whether a run works without the item.
    """
    try:
        return Finding(FOUND, kind, str(name), look())
    except (FileNotFoundError, ModuleNotFoundError) as error:
        # Keep only the first clause: the rest says where to get the item, as ``fix`` does.
        text = re.split(r'\. |; ', one_line(error, name))[0]
        return Finding(OPTIONAL if optional else MISSING, kind, str(name), text, fix)
    except Exception as error:  # whatever a broken file or environment raises is a finding
        return Finding(WRONG, kind, str(name), one_line(error, name), fix)


def one_line(error: Exception, name: Any) -> str:
    """Return the message as one line, without the item's name, which the table already shows."""
    text = ' '.join(str(error).split()).removeprefix(f'{name}: ') or type(error).__name__
    return text if len(text) < 400 else text[:400] + ' ...'
