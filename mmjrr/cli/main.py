"""The command ``mmjrr``: every command of ``tools`` under one name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from mmjrr.version import __version__

#: Names of commands, their modules, and what they do.
COMMANDS = {
    'evaluate': ('evaluate', 'evaluate stored predictions with any joint regressors'),
    'fit-regressor': ('fit_regressor', 'fit a regressor to any meshes and any 3D joints'),
    'inspect': ('inspect', "describe a joint regressor's file, and compare it with others"),
    'table1': ('table1', "print the paper's Table I for any models"),
    'label-consistency': (
        'label_consistency',
        "test whether subjects' joints are labeled at the same positions",
    ),
    'report': ('report', 'write a report as one HTML file'),
    'export-meshes': ('export_meshes', 'write the bodies of any results file as meshes'),
    'figures': ('figures', "draw the paper's figures from a refinement"),
    'refine': ('train', 'refine SMPL fits and learn a joint regressor'),
    'test': ('test', 'evaluate a model of a config'),
    'initial-fits': ('initial_fits', 'fit bodies to annotated 3D joints, as initial fits'),
    'infer': ('infer', 'run a mesh estimator on a dataset, images or a video'),
    'masks': ('masks', "generate person masks of a dataset's images"),
    'simulate-masks': ('simulate_masks', 'write masks with the errors of a network'),
    'transfer': ('transfer', 'carry a joint regressor to another mesh'),
    'convert': ('convert', "convert Human3.6M of any layout into MMPose's layout"),
    'compare-training': (
        'compare_training',
        'train an estimator on initial and refined fits, with three regressors',
    ),
    'check': ('check', 'check that everything a config needs is in place'),
    'download': ('download', 'download files that other projects publish'),
    'demo': ('demo', 'learn a joint regressor from synthetic data'),
    'demo-pose2sim': ('demo_pose2sim', 'refine a person on photographs of four cameras'),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the commands; return its exit status."""
    parser = argparse.ArgumentParser(
        prog='mmjrr',
        description='Correct and learn the joint regressors of SMPL-based pose evaluation.',
        epilog='\n'.join(f'  {name:<18} {about}' for name, (_, about) in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'mmjrr {__version__}')
    parser.add_argument(
        'command', choices=COMMANDS, metavar='COMMAND', help='one of the commands below'
    )
    parser.add_argument(
        'arguments', nargs=argparse.REMAINDER, help='arguments; COMMAND --help lists them'
    )
    args = parser.parse_args(argv)
    module, _ = COMMANDS[args.command]
    command = import_module(f'mmjrr.cli.{module}')
    return command.main(args.arguments, prog=f'mmjrr {args.command}')


if __name__ == '__main__':
    sys.exit(main())
