"""Measure how certain scores under learned regressors are, and their joints, on a synthetic set.

    python tools/analysis_tools/regressor_uncertainty.py work_dirs/demo/data \
        work_dirs/demo/refinement --out work_dirs/results/uncertainty/demo_0.json

Takes a synthetic set and the work directory of a refinement of its training subjects. Writes

- the MPJPE of the simulated estimators under J_std, J_spin, J_opt and the true regressor, and the
  differences of J_opt's from the others', with the intervals of
  :mod:`mmjrr.evaluation.uncertainty`;
- for each joint, the distance of J_opt's joint from the true regressor's on the body's template,
  and the radius of a bootstrap over the training subjects
  (:mod:`mmjrr.regressors.fitting.subject_bootstrap`); and the distance of the joint of a regressor
  that is fitted to the true bodies, which is due to the labels alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmjrr.cli.options import OptionError, parse, run_command

if TYPE_CHECKING:
    from torch import Tensor

    from mmjrr.datasets.synthetic.truth import SyntheticTruth

#: The regressors that J_opt is compared with.
REFERENCES = ('J_std', 'J_spin', 'truth')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(run, parse(add_arguments, __doc__, argv))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument('set', type=Path, help='folder of the synthetic set')
    parser.add_argument('work_dir', type=Path, help='work directory of its refinement')
    parser.add_argument('--out', type=Path, help='file to write, JSON')
    parser.add_argument(
        '--resamples', type=int, default=199, help='draws of subjects (default: %(default)s)'
    )


def run(args: argparse.Namespace) -> None:
    """Measure, print the numbers, and write the file."""
    from mmjrr.io import read_json, versions, write_json
    from mmjrr.io.paths import check_suffix

    if args.resamples < 1:
        raise OptionError(f'--resamples: found {args.resamples}, expected at least 1')
    if args.out is not None:
        check_suffix(args.out, '.json')
    record: dict[str, Any] = dict(
        seed=read_json(args.set / 'synthetic.json')['settings']['seed'],
        scores=scores(args.set, args.work_dir),
        joints=joints(args.set, args.work_dir, args.resamples),
        versions=versions(),
    )
    for title, row in record['scores'].items():
        print(f'{title}: MPJPE {row["mpjpe"]["J_opt"]:.2f} mm under J_opt')
        for reference, interval in row['differences'].items():
            print(
                f'  J_opt - {reference}: {interval["value"]:+.2f} '
                f'[{interval["low"]:+.2f}, {interval["high"]:+.2f}]'
            )
    for joint, row in record['joints'].items():
        print(
            f'{joint}: error {row["error_mm"]:.1f} mm, radius {row["radius_mm"]:.1f} mm, '
            f'with true bodies {row["floor_mm"]:.1f} mm'
        )
    if args.out is not None:
        write_json(args.out, record)
        print(f'Wrote {args.out}')


def scores(data: Path, work_dir: Path) -> dict[str, Any]:
    """Score the simulated estimators under each regressor.

    Returns:
        By estimator: ``mpjpe`` by regressor, ``differences`` of J_opt's from the others' as
        ``value``, ``low`` and ``high``, all in mm; and the numbers of ``frames``, ``sequences`` and
        ``subjects``.
    """
    import mmjrr
    from mmjrr.cli.demo import ESTIMATORS

    regressors = {
        'J_opt': str(work_dir / 'J_opt.npy'),
        'J_std': str(data / 'regressors' / 'J_std.npy'),
        'J_spin': str(work_dir / 'J_spin.npy'),
        'truth': str(data / 'truth' / 'J_true.npy'),
    }
    table: dict[str, Any] = {}
    for title, name in ESTIMATORS.items():
        predictions = data / 'fits' / f'{name}_like_test.npz'
        result = mmjrr.evaluate(predictions, data, regressors, missing='raise', by=())
        found = {
            (interval.regressor, interval.reference): interval
            for interval in result.intervals
            if interval.error == 'mpjpe'
        }
        if not found:
            raise ValueError(f'{predictions}: found a sequence per subject, expected several')
        own = found['J_opt', None]
        # A bootstrap of -x with the same draws is the negative of that of x.
        opposite = {name: found[name, 'J_opt'] for name in REFERENCES}
        table[title] = dict(
            mpjpe={name: round(found[name, None].value, 3) for name in (*REFERENCES, 'J_opt')},
            differences={
                name: dict(
                    value=round(-of.value, 3), low=round(-of.high, 3), high=round(-of.low, 3)
                )
                for name, of in opposite.items()
            },
            frames=result.frames,
            sequences=own.sequences,
            subjects=own.subjects,
        )
    return table


def joints(data: Path, work_dir: Path, n_resamples: int) -> dict[str, Any]:
    """Compare joints with the true regressor's, and with those of a bootstrap over subjects.

    Returns:
        By joint, distances on the template: ``error_mm`` of J_opt, ``radius_mm`` of its bootstrap,
        and ``floor_mm``, the error of the regressor that is fitted to the true bodies.
    """
    import numpy as np

    from mmjrr.body_models import free_body
    from mmjrr.datasets.synthetic.truth import SyntheticTruth
    from mmjrr.evaluation.label_consistency import LabeledFits
    from mmjrr.joints import H36M_JOINTS_MMPOSE
    from mmjrr.regressors import JointRegressor, fit_joint_regressor
    from mmjrr.regressors.fitting.subject_bootstrap import bootstrap_over_subjects

    body = free_body()
    truth = SyntheticTruth(data, body)
    fits = LabeledFits(work_dir, body)
    root = fits.default_root()
    template = body.v_template.double()

    def on_template(regressor: JointRegressor) -> Any:
        points = regressor.reorder(H36M_JOINTS_MMPOSE).weight.double() @ template
        return (points if root is None else points - points.mean(0)).numpy()

    opt = JointRegressor.load(work_dir / 'J_opt.npy')
    floor = fit_joint_regressor(
        _labeled_truth(truth), joint_names=H36M_JOINTS_MMPOSE, root=root, body_model=body.name
    ).regressor
    true = on_template(truth.regressor)
    errors, floors = (
        np.linalg.norm(on_template(regressor) - true, axis=-1) for regressor in (opt, floor)
    )
    radii = bootstrap_over_subjects(
        fits, opt.reorder(H36M_JOINTS_MMPOSE), template, root, n_resamples=n_resamples
    ).radius()
    return {
        name: {
            key: round(1000 * float(values[index]), 3)
            for key, values in (('error_mm', errors), ('radius_mm', radii), ('floor_mm', floors))
        }
        for index, name in enumerate(H36M_JOINTS_MMPOSE)
    }


def _labeled_truth(truth: SyntheticTruth) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the true bodies of the training subjects, and their annotated joints."""
    import torch

    from mmjrr.io import read_npz

    annotation = read_npz(truth.root / 'annotation_body3d' / 'fps10' / 'h36m_train.npz')
    labels = dict(zip(annotation['imgname'].tolist(), annotation['S'][..., :3], strict=True))
    bodies = truth.parameters('train')
    names = bodies['imgname'].tolist()
    start = 0
    for vertices in truth.vertices(bodies):
        rows = names[start : start + len(vertices)]
        start += len(vertices)
        joints = torch.tensor([labels[name].tolist() for name in rows], dtype=torch.float64)
        yield vertices.double(), joints


if __name__ == '__main__':
    sys.exit(main())
