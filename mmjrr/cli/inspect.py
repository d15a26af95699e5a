r"""Describe a joint regressor's file: shape, order, sums, support, and what it resembles.

    mmjrr inspect J_regressor_h36m.npy
    mmjrr inspect SMPL_to_J19.pkl --picture j19.png --body-model data/smpl
    mmjrr inspect new/J_opt.npy old/J_opt.npy

The file may be .npy, .npz, .pkl or .pt, dense or sparse, and hold the matrix or its transpose.
Nothing in it is executed. Further files are compared with the first, joint by joint. With
--body-model, distances are in mm on the rest pose, and --picture draws the support on the body.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmjrr.cli.options import add_body_model, add_joint_order, parse, run_command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument('file', help='file, or a name of the zoo')
    parser.add_argument('others', nargs='*', help='files or names to compare with')
    add_joint_order(parser)
    add_body_model(parser)
    parser.add_argument('--picture', type=Path, help='picture to write: .png, .pdf or .svg')


def run(args: argparse.Namespace) -> None:
    """Print the description and write the picture."""
    import numpy as np
    import torch

    from mmjrr.body_models import SMPL, free_body
    from mmjrr.io.paths import check_suffix
    from mmjrr.regressors import JointRegressor
    from mmjrr.regressors.inspection import format_inspection, inspect_regressor
    from mmjrr.regressors.sides import known_template
    from mmjrr.visualization.matplotlib_figure import CHART_SUFFIXES

    if args.picture is not None:
        check_suffix(args.picture, *CHART_SUFFIXES, option='--picture')
    body = None
    if args.body_model is not None:
        body = free_body() if args.body_model == 'free_body' else SMPL(args.body_model)
    template = None if body is None else body.v_template.cpu().double().numpy()
    name = None if body is None else body.name
    inspection = inspect_regressor(args.file, args.joint_order, name, template, args.others)
    print(format_inspection(inspection))
    if args.picture is None:
        return
    if template is None:
        template = known_template(inspection.body_model)
    if template is None:
        raise ValueError('--picture: needs the body, --body-model')
    from mmjrr.visualization.support_figure import draw_support

    weight = np.nan_to_num(inspection.weight).clip(min=0)
    weight = weight / weight.sum(1, keepdims=True)
    names = inspection.joint_names or [f'row {row}' for row in range(len(weight))]
    regressor = JointRegressor(torch.from_numpy(weight), names, 'unnamed')
    print(f'Wrote {draw_support({Path(args.file).stem: regressor}, template, args.picture)}')


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(run, parse(add_arguments, __doc__, argv, prog))


if __name__ == '__main__':
    sys.exit(main())
