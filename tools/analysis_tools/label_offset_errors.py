"""Measure how well label offsets are found on true bodies, by the number of moments.

    python tools/analysis_tools/label_offset_errors.py --seeds 0 1 2 3 4 --out errors.json

On true bodies only the labels' noise is left, so these errors are what no refinement improves. For
each seed, people with offset ankle labels are drawn as in a synthetic set. Each person performs all
actions, from which moments are drawn. Regressor and offsets of the ankles are then fitted together,
and the offsets are compared with the planted ones.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.cli.options import OptionError, parse, run_command

ANKLES = ('left_ankle', 'right_ankle')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(run, parse(add_arguments, __doc__, argv))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument(
        '--moments', type=int, nargs='+', default=[1, 4], help='moments of each of 15 actions'
    )
    parser.add_argument(
        '--max-vertex-distances',
        type=float,
        nargs='+',
        default=[0.2],
        metavar='METERS',
        help='largest distances of vertices from joints in the fit of the offsets; inf: no limit',
    )
    parser.add_argument('--out', type=Path, help='file to write, JSON')


def run(args: argparse.Namespace) -> None:
    """Measure, print a line for each number of moments and distance, and write the file."""
    from mmjrr.datasets.synthetic.actions import ACTIONS
    from mmjrr.io import versions, write_json
    from mmjrr.io.paths import check_suffix

    if min(args.moments) < 1:
        raise OptionError(f'--moments: found {args.moments}, expected numbers of at least 1')
    if not all(distance > 0 for distance in args.max_vertex_distances):  # nor NaN
        raise OptionError(
            f'--max-vertex-distances: found {args.max_vertex_distances}, expected positive numbers'
        )
    if args.out is not None:
        check_suffix(args.out, '.json')
    rows = []
    for per_action, distance in itertools.product(args.moments, args.max_vertex_distances):
        parts = [offset_errors(seed, per_action, distance) for seed in args.seeds]
        errors = np.concatenate([part['error_mm'] for part in parts])
        scaled = np.concatenate([part['error_in_standard_errors'] for part in parts])
        row = dict(
            moments=per_action * len(ACTIONS),
            max_vertex_distance=None if math.isinf(distance) else distance,
            ankles=len(errors),
            mean_mm=round(float(errors.mean()), 2),
            largest_mm=round(float(errors.max()), 2),
            standard_error_mm=round(
                float(np.mean([part['standard_error_mm'] for part in parts])), 2
            ),
            rms_in_standard_errors=round(float(np.sqrt(np.square(scaled).mean())), 2),
        )
        rows.append(row)
        print(
            f'{row["moments"]} moments a subject, vertices '
            f'{"at any distance" if math.isinf(distance) else f"within {100 * distance:g} cm"}: '
            f'error {row["mean_mm"]} mm, largest '
            f'{row["largest_mm"]} mm of {row["ankles"]}; standard error of an axis '
            f'{row["standard_error_mm"]} mm, errors {row["rms_in_standard_errors"]} times as large',
            flush=True,
        )
    if args.out is not None:
        write_json(args.out, dict(rows=rows, seeds=args.seeds, versions=versions()))


def offset_errors(seed: int, per_action: int, max_vertex_distance: float) -> dict[str, Any]:
    """Fit the offsets to true bodies of the training subjects.

    Args:
        seed: Seed of a synthetic set, whose people and true regressor are taken.
        per_action: Moments of each action of a subject.
        max_vertex_distance: As in :func:`mmjrr.regressors.fit_label_offsets`, meters.

    Returns:
        ``error_mm`` (10,), distances of the ankles' offsets from the planted ones;
        ``standard_error_mm``, the mean standard error of an axis; and
        ``error_in_standard_errors`` (30,), the errors of all axes divided by theirs.
    """
    from mmjrr.body_models import free_body
    from mmjrr.datasets.synthetic.subjects import TRAIN_SUBJECTS, make_subject
    from mmjrr.regressors import fit_label_offsets

    body = free_body()
    estimate = fit_label_offsets(
        [_labeled_bodies(seed, name, per_action, body) for name in TRAIN_SUBJECTS],
        ANKLES,
        None,
        max_vertex_distance=max_vertex_distance,
        body_model=body.name,
    )
    order = estimate.offsets.subjects
    planted = np.stack([make_subject(seed, name).ankle_offset for name in order])
    difference = estimate.estimates - planted
    return dict(
        error_mm=1000 * np.linalg.norm(difference, axis=-1).ravel(),
        standard_error_mm=1000 * float(estimate.standard_error.mean()),
        error_in_standard_errors=(difference / estimate.standard_error).ravel(),
    )


def _labeled_bodies(seed: int, name: str, per_action: int, body: Any) -> Any:
    """Return the true bodies of a subject, with labels of its ankles, as a batch."""
    import torch

    from mmjrr.datasets.synthetic.actions import ACTIONS
    from mmjrr.datasets.synthetic.motion import sample_motion
    from mmjrr.datasets.synthetic.posing import global_rotations, pose_body
    from mmjrr.datasets.synthetic.seeding import stream
    from mmjrr.datasets.synthetic.simulated_regressors import label_joints, make_true_regressor
    from mmjrr.datasets.synthetic.subjects import make_subject
    from mmjrr.joints import H36M_JOINTS_MMPOSE
    from mmjrr.regressors import GroupedBatch

    subject, truth = make_subject(seed, name), make_true_regressor(seed, body)
    truth = truth.reorder(H36M_JOINTS_MMPOSE)
    rng = stream(seed, 'label offset errors', name)
    poses: list[Array] = []
    for action in ACTIONS:
        motion = sample_motion(seed, name, action, rng.uniform(0, 60, per_action))
        poses.append(np.concatenate([motion.global_orient[:, None], motion.body_pose], 1))
    pose = np.concatenate(poses)
    vertices, rotations = pose_body(body, subject.betas, pose), global_rotations(pose)
    labels = np.stack(
        [
            label_joints(truth, vertices[i], rotations[i], subject, rng)[
                [H36M_JOINTS_MMPOSE.index(ankle) for ankle in ANKLES]
            ]
            for i in range(len(pose))
        ]
    )
    sequences = [action for action in ACTIONS for _ in range(per_action)]
    return GroupedBatch(
        torch.from_numpy(vertices).double(),
        torch.from_numpy(labels),
        torch.from_numpy(rotations).double(),
        [name] * len(pose),
        sequences,
    )


if __name__ == '__main__':
    sys.exit(main())
