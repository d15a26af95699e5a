r"""Fit bodies to 3D joints, as initial fits where no estimator's results exist.

    mmjrr initial-fits data/h36m/annotation_body3d/fps10/h36m_train.npz \
        --regressor J_std --body-model data/smpl --out data/h36m/fits/from_joints_train.npz

Reads an annotation file in MMPose's layout (imgname, center, scale, part, S) and writes a fits file
in SPIN's layout, with a translation. Poses are kept within joint limits; the best of several starts
is kept for each frame. With --cameras, joints that are annotated in 2D only are triangulated from
the views of each moment; frames with fewer than three joints of the trunk are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmjrr.cli.options import add_body_model, add_joint_order, parse, run_command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument('annotations', type=Path, help="an annotation npz in MMPose's layout")
    parser.add_argument(
        '--cameras', type=Path, help="MMPose's cameras.pkl, to triangulate joints without 3D labels"
    )
    parser.add_argument('--regressor', required=True, help='a regressor: a name, or a file')
    add_joint_order(parser)
    add_body_model(parser, required=True)
    parser.add_argument('--out', type=Path, required=True, help='.npz file to write')
    parser.add_argument(
        '--starts', type=int, default=3, help='starts of each frame (default: %(default)s)'
    )
    parser.add_argument(
        '--iters', type=int, default=150, help='Adam steps from each start (default: %(default)s)'
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the starts (default: 0)')


def run(args: argparse.Namespace) -> None:
    """Fit all frames; print the error and write the file."""
    import numpy as np

    from mmjrr.cli.evaluation_options import chosen_regressors
    from mmjrr.datasets.annotations import Annotations
    from mmjrr.datasets.fits import save_fits
    from mmjrr.datasets.triangulated_joints import labeled_trunk_joints, triangulated_joints
    from mmjrr.engine.fits_from_joints import FRAMES_PER_SHARD, check_trunk, fit_rows
    from mmjrr.engine.joint_order import check_annotation
    from mmjrr.errors import DataError
    from mmjrr.evaluation import load_regressors
    from mmjrr.evaluation.evaluate_predictions import body_config
    from mmjrr.evaluation.predicted_body import gender_of_body
    from mmjrr.geometry import load_cameras
    from mmjrr.io import sha256, versions
    from mmjrr.io.paths import check_suffix
    from mmjrr.jobs import digest_of_state
    from mmjrr.joints import H36M_JOINTS_MMPOSE
    from mmjrr.refinement.inverse_kinematics import MIN_TRUNK_JOINTS
    from mmjrr.registry import BODY_MODELS

    check_suffix(args.out, '.npz', option='--out')
    table = Annotations.load(args.annotations)
    triangulated: dict[str, Any] | None = None
    if args.cameras is not None:
        labeled = table.S[..., 3] > 0
        counts: dict[str, int] = {}
        table = triangulated_joints(table, load_cameras(args.cameras), report=counts)
        trunk = labeled_trunk_joints(table) >= MIN_TRUNK_JOINTS
        print(f'{int(trunk.sum())} of {len(table)} frames have joints of the trunk in 3D')
        if not trunk.any():
            raise DataError(
                f'{args.annotations}: found no moment whose views agree on the trunk; check that '
                f'{args.cameras} has the poses of these cameras'
            )
        triangulated = dict(
            cameras=dict(file=args.cameras.name, sha256=sha256(args.cameras)),
            joints=int(((table.S[..., 3] > 0) & ~labeled)[trunk].sum()),
            frames_left_out=int((~trunk).sum()),
            of_all_frames=counts,
        )
        table = table.keep(trunk)
    check_trunk(
        args.annotations,
        lambda row: str(table.imgname[row]),
        table.S,
        'leave these frames out or, with several calibrated views, give --cameras',
    )
    for remark in check_annotation(str(args.annotations), table):
        print(f'warning: {remark}', file=sys.stderr)
    config = body_config(args.body_model, {})
    assert isinstance(config, dict)
    body = BODY_MODELS.build(dict(config))
    chosen = chosen_regressors([args.regressor], args.joint_order, args.body_model)
    ((name, regressor),) = load_regressors(chosen).items()
    regressor = regressor.reorder(H36M_JOINTS_MMPOSE)
    parts = []
    for start in range(0, len(table), FRAMES_PER_SHARD):
        stop = min(start + FRAMES_PER_SHARD, len(table))
        parts.append(
            fit_rows(
                body, regressor, table.S[start:stop],
                num_iters=args.iters, num_starts=args.starts, seed=args.seed,
            )
        )  # fmt: skip
        print(f'{stop} of {len(table)} frames', file=sys.stderr)
    fits = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    error = 1000 * float(np.sqrt(np.square(fits['error']).mean()))
    source = dict(file=args.annotations.name, sha256=sha256(args.annotations))
    save_fits(
        args.out,
        imgname=table.imgname,
        pose=np.concatenate([fits['global_orient'], fits['body_pose']], 1),
        betas=fits['betas'],
        transl=fits['transl'],
        center=table.center,
        scale=table.scale,
        gender=gender_of_body(body),
        provenance=dict(
            made_by='mmjrr initial-fits', annotations=source, triangulated=triangulated,
            body=dict(name=body.name, sha256=digest_of_state(body)),
            regressor=name, regressor_file_sha256=regressor.provenance['file_sha256'],
            joint_order=args.joint_order,
            starts=args.starts, iters=args.iters, seed=args.seed, versions=versions(),
        ),
    )  # fmt: skip
    print(f'{len(table)} frames, joints {error:.1f} mm rms\nWrote {args.out}')


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(run, parse(add_arguments, __doc__, argv, prog))


if __name__ == '__main__':
    sys.exit(main())
