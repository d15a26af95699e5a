"""Check that everything a config needs is in place, and print how to fix what is not.

    python tools/check_setup.py configs/refinement/contour_100it_h36m.py
    python tools/check_setup.py configs/evaluation/spin_h36m.py data/spin/model_checkpoint.pt
    python tools/check_setup.py CONFIG --data-root /mnt/h36m --gpu --json

Accepts any config of configs/refinement, evaluation, inference and segmentation. Each file is
opened and checked once, as a run does. Exits with 0 if nothing is missing or wrong, else with 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmjrr.cli.config_options import add_config_options
from mmjrr.cli.options import parse
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

    from mmengine.config import Config
    from mmengine.logging import MMLogger

    from mmjrr.setup_check import check_setup, overview

    # Log lines of the loaders would break the table.
    MMLogger.get_current_instance().setLevel(logging.ERROR)
    warnings.simplefilter('ignore')
    try:
        cfg = Config.fromfile(args.config, import_custom_modules=False)
        if args.cfg_options is not None:
            cfg.merge_from_dict(args.cfg_options)
    except Exception as error:  # a config is a program and may raise anything
        print(f'error: {args.config}: not readable as a config: {error}', file=sys.stderr)
        return 1
    plain = cfg.to_dict()
    if args.data_root is not None:
        plain = moved(plain, str(plain.get('data_root', '')), args.data_root)
    findings = []
    for finding in check_setup(plain, args.checkpoint, args.gpu):
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


def moved(value: Any, old: str, new: str) -> Any:
    """Replace the data folder ``old`` by ``new`` in all values of a config."""
    if isinstance(value, dict):
        return {
            key: new if key == 'data_root' and item == old else moved(item, old, new)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [moved(item, old, new) for item in value]
    folder = old.rstrip('/') + '/'
    if isinstance(value, str) and old and value.startswith(folder):
        return f'{new.rstrip("/")}/{value[len(folder) :]}'
    return value


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run(parse(add_arguments, __doc__, argv, prog))


if __name__ == '__main__':
    sys.exit(main())
