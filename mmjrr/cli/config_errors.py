"""Errors of a config, of the options that change it and of the data that it names, as sentences.

MMEngine builds a run from a config: a name that a component does not take, or a component that does
not exist, ends in a ``TypeError`` or ``KeyError`` far from the config. :func:`told_in_a_sentence`
turns these, and every ``ValueError`` that a component raises on purpose, into a
:class:`ConfigError`. An error that no ``raise`` statement raised, such as a wrong call within an
iteration, is a defect of the program and keeps its traceback.
"""

from __future__ import annotations

import dis
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import takewhile
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from mmjrr.cli.options import EXPECTED

if TYPE_CHECKING:
    from mmengine.config import Config

#: Modules of MMEngine that build components from a config.
_BUILDING_MODULES = ('mmengine.registry.', 'mmengine.runner.runner')
#: Beginnings of the names of their functions that do so.
_BUILDING_FUNCTIONS = ('build', 'get', 'set_', 'setup_', 'from_cfg', '__init__')

_UNKNOWN_OPTION = re.compile(r"(?:(\w+)\.)?\w+\(\) got an unexpected keyword argument '(\w+)'")
_ADVICE = re.compile(r"\. Did you mean '\w+'\?$")  # of Python 3.13
_MISSING_OPTION = re.compile(r'\(\) missing \d+ required ')
_UNKNOWN_COMPONENT = re.compile(r'(\S+) is not in the (\S+) registry')


class ConfigError(ValueError):
    """A config that cannot be built, or data that does not fit it."""


@contextmanager
def told_in_a_sentence(cfg: Config) -> Iterator[None]:
    """Turn errors of a config and of the data that it names into sentences.

    Args:
        cfg: The config, for the places of wrong names.

    Raises:
        ConfigError: The config cannot be built, or a component refuses an option or data.
    """
    try:
        yield
    except EXPECTED:
        raise
    except (TypeError, ValueError, KeyError) as error:
        sentence = _sentence(error, cfg.to_dict())
        if sentence is None:
            raise
        raise ConfigError(sentence) from error


def similar_names(name: str, known: Sequence[str]) -> str:
    """Return the end of a message about an unknown name, with the similar ones.

    >>> similar_names('batchsize', ['batch_size', 'sampler'])
    '; similar names: batch_size'
    >>> similar_names('x', ['batch_size'])
    ''
    """
    similar = get_close_matches(name, known, n=3, cutoff=0.7)
    return f'; similar names: {", ".join(similar)}' if similar else ''


def _sentence(error: Exception, cfg: Mapping[str, Any]) -> str | None:
    """Return a sentence on an error of the config or the data; None for any other error."""
    told = _unknown_option(error, cfg) or _missing_option(error) or _unknown_component(error, cfg)
    if told is not None or not _is_deliberate(error):
        return told
    cause = error.__cause__
    if isinstance(cause, TypeError):  # a component that names the part it could not build
        unknown = _UNKNOWN_OPTION.search(str(cause))
        known = _known_options(cause)
        if unknown is not None and known:
            message = _ADVICE.sub('', _message(error))
            return f'{message}{similar_names(unknown[2], known)}'
    return _message(error)


def _unknown_option(error: Exception, cfg: Mapping[str, Any]) -> str | None:
    unknown = _UNKNOWN_OPTION.search(str(error)) if isinstance(error, TypeError) else None
    known = _known_options(error) if unknown is not None else None
    if unknown is None or known is None:
        return None
    owner, name = unknown[1] or 'the component', unknown[2]
    places = _places(cfg, lambda key, value: key == name)
    return f'{places or name}: {owner} has no such option{similar_names(name, known)}'


def _missing_option(error: Exception) -> str | None:
    if isinstance(error, TypeError) and _MISSING_OPTION.search(str(error)):
        frames = _frames(error)
        if frames and _is_building(frames[-1].tb_frame):
            return str(error)
    return None


def _unknown_component(error: Exception, cfg: Mapping[str, Any]) -> str | None:
    unknown = _UNKNOWN_COMPONENT.search(_message(error)) if isinstance(error, KeyError) else None
    if unknown is None or not _is_deliberate(error):
        return None
    places = _places(cfg, lambda key, value: key == 'type' and value == unknown[1])
    return f'{places}{": " if places else ""}{unknown[0]}'


def _known_options(error: BaseException) -> list[str] | None:
    """Return the options of the component whose options hold the one that it does not take.

    Returns:
        Their names, none if they are not known; None if the wrong name is not the config's.
    """
    unknown = _UNKNOWN_OPTION.search(str(error))
    frames = [entry.tb_frame for entry in _frames(error)]
    inner = list(takewhile(lambda frame: not _is_building(frame), reversed(frames)))
    if unknown is None or len(inner) == len(frames):
        return None
    if any(frame.f_code.co_name != '__init__' for frame in inner):
        return None
    given = frames[len(frames) - 1 - len(inner)].f_locals
    options = [value for value in given.values() if isinstance(value, Mapping)]
    if not any(unknown[2] in value for value in options):
        return None
    component = given.get('obj_cls')
    if component is None and unknown[1] == 'DataLoader':
        from torch.utils.data import DataLoader

        component = DataLoader
    if component is None:
        return []
    return [name for name in inspect.signature(component).parameters if name != 'self']


def _is_deliberate(error: BaseException) -> bool:
    """Return whether a ``raise`` statement of mmjrr, or below a component's building, raised it."""
    frames = _frames(error)
    if not frames or not _is_raised(frames[-1]):
        return False
    if any(_is_building(entry.tb_frame) for entry in frames):
        return True
    return isinstance(error, ValueError) and _module_of(frames[-1].tb_frame).startswith('mmjrr.')


def _is_raised(entry: TracebackType) -> bool:
    """Return whether a traceback ends in a ``raise`` statement, and not in a call of C code."""
    operation = entry.tb_frame.f_code.co_code[entry.tb_lasti]
    return dis.opname[operation] == 'RAISE_VARARGS'


def _is_building(frame: FrameType) -> bool:
    function = frame.f_code.co_name
    return function.startswith(_BUILDING_FUNCTIONS) and _module_of(frame).startswith(
        _BUILDING_MODULES
    )


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get('__name__', ''))


def _frames(error: BaseException) -> list[TracebackType]:
    entries, entry = [], error.__traceback__
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    return entries


def _message(error: BaseException) -> str:
    """Return the message; ``str`` of a ``KeyError`` would quote it."""
    return str(error.args[0] if error.args else error)


def _places(node: Any, is_wanted: Any, path: str = '') -> str:
    """Return the dotted places of the wanted keys of a config, joined by commas."""
    if isinstance(node, Mapping):
        items = [(str(key), value) for key, value in node.items()]
    elif isinstance(node, (list, tuple)):
        items = [(str(number), value) for number, value in enumerate(node)]
    else:
        return ''
    places = []
    for key, value in items:
        place = f'{path}.{key}' if path else key
        if is_wanted(key, value):
            places.append(place)
        places.append(_places(value, is_wanted, place))
    return ', '.join(filter(None, places))
