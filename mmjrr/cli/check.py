"""Check that everything a config needs is in place, and print how to fix what is not.

    python tools/check_setup.py configs/refinement/contour_100it_h36m.py
    python tools/check_setup.py configs/evaluation/spin_h36m.py data/spin/model_checkpoint.pt
    python tools/check_setup.py CONFIG --data-root /mnt/h36m --gpu --json

Accepts any config of configs/refinement, evaluation, inference and segmentation. Files are opened,
and hooks, samplers and data sets are built, as a run does. Exits with 0 if nothing is missing or
wrong, else with 1.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmjrr.cli.config_options import add_config_options
from mmjrr.cli.options import OptionError, parse, run_command
from mmjrr.cli.shipped import config_file

if TYPE_CHECKING:
    from mmjrr.setup_check import Finding

_COLORS = {'found': '32', 'optional': '33', 'missing': '31', 'wrong': '31'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument('config', type=config_file, help='config file')
    parser.add_argument(
        'checkpoint', nargs='?', help="file of the weights, if the run's command names it"
    )
    parser.add_argument('--data-root', help="data folder, instead of the config's data_root")
    parser.add_argument('--gpu', action='store_true', help='also check that PyTorch can use a GPU')
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the findings; return 1 if something is missing or wrong, else 0."""
    import dataclasses
    import json
    import logging
    import warnings
    from contextlib import ExitStack
    from functools import partial

    from mmengine.config import Config
    from mmengine.logging import MMLogger

    from mmjrr.cli.config_errors import told_in_a_sentence
    from mmjrr.errors import DataError
    from mmjrr.setup_check import check_setup, overview, replaced_folder

    # Log lines of the loaders would break the table.
    MMLogger.get_current_instance().setLevel(logging.ERROR)
    warnings.simplefilter('ignore')
    try:
        cfg = Config.fromfile(args.config, import_custom_modules=False)
        if args.cfg_options is not None:
            cfg.merge_from_dict(args.cfg_options)
    except Exception as error:  # a config is a program and may raise anything
        raise DataError(f'{args.config}: not readable as a config: {error}') from error
    plain = cfg.to_dict()
    findings = []
    with ExitStack() as stack:
        if args.data_root is not None:
            old = data_root_of(plain, args.data_root, args.config)
            plain = moved(plain, old, args.data_root)
            stack.enter_context(replaced_folder(old, args.data_root))
        told = partial(told_in_a_sentence, cfg)
        for finding in check_setup(plain, args.checkpoint, args.gpu, told):
            findings.append(finding)
            if not args.json:
                print(row(finding, sys.stdout.isatty()), flush=True)
    if args.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        print(f'\n{overview(findings)}')
    return int(any(finding.bad for finding in findings))


def row(finding: Finding, colors: bool) -> str:
    """Format a finding as a row of the table."""
    state = f'{finding.state:8}'
    if colors:
        state = f'\x1b[{_COLORS[finding.state]}m{state}\x1b[0m'
    return f'{state}  {finding.kind:11}  {finding.name:34}  {finding.detail}'.rstrip()


def data_root_of(cfg: dict[str, Any], new: str, config: str) -> str:
    """Return the data folder of a config: its ``data_root``, or the only one of its parts.

    Args:
        cfg: The config.
        new: The data folder that replaces it, for messages.
        config: The config's file, for messages.

    Raises:
        OptionError: No part lies in the config's ``data_root``, and the parts have several or none.
    """
    from mmjrr.setup_check import PARTS

    old = str(cfg.get('data_root') or '')
    parts = {name: cfg[name] for name in PARTS if name in cfg}
    if moved(parts, old, '\0') == parts:
        found = data_roots(parts)
        if len(found) != 1:
            where = shlex.quote(f'test_dataloader.dataset.data_root={new}')
            raise OptionError(
                f'--data-root {new}: changes nothing in {config}: its parts have the data_root '
                f'{sorted(found) or None}, expected one; name the part: --cfg-options {where}'
            )
        return found.pop()
    return old


def data_roots(value: Any) -> set[str]:
    """Return every ``data_root`` in a value of a config, without the last slash."""
    if isinstance(value, dict):
        found = {
            item.rstrip('/')
            for key, item in value.items()
            if key == 'data_root' and isinstance(item, str)
        }
        return found.union(*map(data_roots, value.values()))
    return set().union(*map(data_roots, value)) if isinstance(value, (list, tuple)) else set()


def moved(value: Any, old: str, new: str) -> Any:
    """Replace the data folder ``old`` by ``new`` in all values of a config."""
    if isinstance(value, dict):
        return {
            key: new if key == 'data_root' and _same(item, old) else moved(item, old, new)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(moved(item, old, new) for item in value)
    folder = old.rstrip('/') + '/'
    if isinstance(value, str) and old and value.startswith(folder):
        return f'{new.rstrip("/")}/{value[len(folder) :]}'
    return value


def _same(folder: Any, other: str) -> bool:
    return isinstance(folder, str) and folder.rstrip('/') == other.rstrip('/')


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(run, parse(add_arguments, __doc__, argv, prog))


if __name__ == '__main__':
    sys.exit(main())
