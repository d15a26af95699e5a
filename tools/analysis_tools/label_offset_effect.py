"""Compare the effect of test subjects' label offsets on a model's error with the truth.

    python tools/analysis_tools/label_offset_effect.py --seeds 0 1 2 3 4 \
        --work-dir work_dirs/label_offset_effect --out effect.json

For each seed, the synthetic set of ``make demo`` is made, and the training subjects are refined as
the demo does, which gives J_opt. The bodies of S9 and S11 are then refined with J_opt, which stays
as it is, in as many steps as the rounds of the training subjects have together. What
``mmjrr label-consistency --test-fits`` reports from these bodies, the part of each simulated
estimator's MPJPE under J_opt that is due to label offsets, is compared with

- the true effect: that of the planted offsets, which are subtracted from the labels with the true
  rotations of the shanks;
- the effect of the found offsets of the ankles alone; and
- what the command reports from the true bodies, where only the labels' noise and the errors of
  J_opt are left.

Finished sets and refinements in the work directory are kept.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmjrr.cli.options import OptionError, parse, run_command

if TYPE_CHECKING:
    from mmjrr.body_models import SMPL
    from mmjrr.evaluation.label_consistency import LabeledFits, OffsetEffect
    from mmjrr.regressors import JointRegressor, LabelOffsets

CONFIG = 'contour-4view_5x80it_synthetic.py'
ANKLES = ('left_ankle', 'right_ankle')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(run, parse(add_arguments, __doc__, argv))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/label_offset_effect'),
        help='folder of sets and refinements (default: %(default)s)',
    )
    parser.add_argument('--out', type=Path, help='file to write, JSON')
    parser.add_argument(
        '--frames-per-subject', type=int, default=16, help='moments (default: %(default)s)'
    )
    parser.add_argument('--steps', type=int, help="Adam steps of a round, instead of the config's")


def run(args: argparse.Namespace) -> None:
    """Refine, compare, print the numbers of each seed, and write the file."""
    from mmjrr.body_models import free_body
    from mmjrr.datasets.synthetic import Settings, generate
    from mmjrr.io import versions, write_json
    from mmjrr.io.paths import check_suffix
    from mmjrr.refinement.allocator import keep_freed_memory

    for name in ('frames_per_subject', 'steps'):
        count = getattr(args, name)
        if count is not None and count < 1:
            option = name.replace('_', '-')
            raise OptionError(f'--{option}: found {count}, expected at least 1')
    if args.out is not None:
        check_suffix(args.out, '.json')
    keep_freed_memory()
    rows = []
    for seed in args.seeds:
        data = args.work_dir / f'seed-{seed}'
        frames = args.frames_per_subject
        generate(
            data, Settings(seed=seed, frames_per_subject=frames, synchronous=True, images=False), 1
        )
        training, test = (args.work_dir / f'refinement{split}_{seed}' for split in ('', '_test'))
        refine_training(data, training, seed, args.steps)
        refine_test(data, test, training / 'J_opt.npy', seed, args.steps)
        row = dict(seed=seed, **measure(data, training / 'J_opt.npy', test, free_body()))
        rows.append(row)
        print_row(row)
    if args.out is not None:
        write_json(args.out, dict(rows=rows, seeds=args.seeds, config=CONFIG, versions=versions()))
        print(f'Wrote {args.out}')


def print_row(row: Mapping[str, Any]) -> None:
    """Print the effects and the errors of the offsets."""
    print(f'seed {row["seed"]}, {row["frames"]} frames, PVE {row["pve_mm"]:.1f} mm')
    for title, effect in row['effects'].items():
        of_all = {name: value['all'] for name, value in effect.items()}
        print(
            f'  {title}: MPJPE {of_all["mpjpe"]:.2f} mm, due to offsets: '
            f'reported {of_all["reported"]:+.2f}, of ankles alone {of_all["ankles"]:+.2f}, '
            f'on true bodies {of_all["true_bodies"]:+.2f}, truth {of_all["truth"]:+.2f} mm'
        )
    for name in ('offsets', 'offsets_on_true_bodies'):
        offsets = row[name]
        print(
            f'  {name.replace("_", " ")}: errors of ankles {offsets["error_mm"]}, '
            f'{offsets["ankles_flagged"]} flagged, others {offsets["others_flagged"]}',
            flush=True,
        )


# -- refinement ------------------------------------------------------------------------------------


def refine_training(data: Path, work_dir: Path, seed: int, steps: int | None = None) -> None:
    """Refine the training subjects as the demo does, and fit J_opt.

    Args:
        data: The synthetic set.
        work_dir: Folder to write. A finished refinement is kept.
        seed: Seed of the refinement.
        steps: Adam steps of a round. Default: None, the config's.
    """
    _refine(data, work_dir, seed, steps, lambda cfg: None, {})


def refine_test(
    data: Path, work_dir: Path, regressor: Path, seed: int, steps: int | None = None
) -> None:
    """Refine the test subjects with a regressor that stays as it is.

    Args:
        data: The synthetic set.
        work_dir: Folder to write. A finished refinement is kept.
        regressor: File of the regressor.
        seed: Seed of the refinement.
        steps: Adam steps of one of the training subjects' rounds. Default: None, the config's.
    """
    from mmjrr.datasets.image_names import SPLITS
    from mmjrr.io import sha256

    def change(cfg: Any) -> None:
        cfg.train_dataloader.dataset.update(
            ann_file='annotation_body3d/fps10/h36m_test.npz',
            fits_file='fits/spin_like_test.npz',
            mask_file='masks/h36m_test.json',
            subjects=list(SPLITS['test']),
        )
        hook = cfg.custom_hooks[0]
        hook.update(regressor=str(regressor), learn_regressor=False)
        hook.refiner.num_iters *= hook.calibration.rounds
        hook.calibration.rounds = 1

    _refine(data, work_dir, seed, steps, change, dict(regressor=sha256(regressor)))


def _refine(
    data: Path,
    work_dir: Path,
    seed: int,
    steps: int | None,
    change: Callable[[Any], None],
    settings: Mapping[str, str],
) -> None:
    """Run the config on a set without images.

    Args:
        data: The synthetic set.
        work_dir: Folder to write.
        seed: Seed of the refinement.
        steps: Adam steps of a round; None for the config's.
        change: A function that changes the config.
        settings: What changes the result besides config and set.
    """
    from mmengine.config import Config

    from mmjrr.cli.demo import run_refinement
    from mmjrr.cli.shipped import ROOT
    from mmjrr.io import sha256

    cfg = Config.fromfile(str(ROOT / 'configs/refinement' / CONFIG))
    cfg.work_dir = str(work_dir)
    cfg.train_dataloader.dataset.data_root = str(data)
    cfg.custom_hooks = cfg.custom_hooks[:1]  # there are no images to draw on
    if steps is not None:
        cfg.custom_hooks[0].refiner.num_iters = steps
    cfg.randomness.seed = seed
    change(cfg)
    run_refinement(
        cfg,
        dict(config=cfg.pretty_text, data=sha256(data / 'synthetic.json'), **settings),
    )


# -- comparison ------------------------------------------------------------------------------------


def measure(data: Path, regressor: Path, test_fits: Path, body: SMPL) -> dict[str, Any]:
    """Compare the effect of found label offsets with that of the planted ones.

    Args:
        data: The synthetic set.
        regressor: File of the regressor.
        test_fits: Work directory of the refined test subjects, or their file.
        body: The body of the set.

    Returns:
        ``frames``, their number; ``pve_mm``, the vertex error of the refined bodies; ``effects`` by
        estimator: ``mpjpe``, and the effects as reported (``reported``), of the found offsets of
        the ankles (``ankles``), as reported from true bodies (``true_bodies``), and of the planted
        offsets (``truth``), in mm, each by subject and for ``all``; ``offsets`` and
        ``offsets_on_true_bodies``, which :func:`compare_offsets` returns.
    """
    from mmjrr.cli.demo import ESTIMATORS
    from mmjrr.datasets.synthetic.truth import SyntheticTruth
    from mmjrr.evaluation.label_consistency import LabeledFits, offset_effect
    from mmjrr.io import read_json
    from mmjrr.regressors import JointRegressor

    loaded = JointRegressor.load(regressor)
    found_fits = LabeledFits(test_fits, body)
    seed = int(read_json(data / 'synthetic.json')['settings']['seed'])
    truth = SyntheticTruth(data, body)
    effects: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        true_fits = _true_fits(truth, found_fits, Path(folder) / 'true.npz')
        planted = planted_offsets(seed, sorted(set(found_fits.subjects)))
        for title, name in ESTIMATORS.items():
            predictions = data / 'fits' / f'{name}_like_test.npz'
            found, on_true = (
                offset_effect(fits, predictions, loaded, root=None, title=title)
                for fits in (found_fits, true_fits)
            )
            ankles = _ankles_alone(found.estimate.offsets)
            moved = {
                'ankles': mpjpe_without(found_fits, ankles, predictions, loaded),
                'truth': mpjpe_without(true_fits, planted, predictions, loaded),
                'reported': found.mpjpe_moved,
                'true_bodies': on_true.mpjpe_moved,
            }
            effects[title] = dict(
                mpjpe=_rounded(found.mpjpe),
                **{key: _rounded(_differences(found, values)) for key, values in moved.items()},
            )
    fitted = {key: found_fits.fits[key] for key in ('pose', 'betas')}
    pve = truth.vertex_error_mm(dict(imgname=np.array(found_fits.names), **fitted), 'test')
    return dict(
        frames=found.frames,
        pve_mm=round(pve, 3),
        effects=effects,
        offsets=compare_offsets(found, planted),
        offsets_on_true_bodies=compare_offsets(on_true, planted),
    )


def planted_offsets(seed: int, subjects: Sequence[str]) -> LabelOffsets:
    """Return the offsets of the labels of a synthetic set's subjects: the ankles', and zeros."""
    from mmjrr.datasets.synthetic.subjects import make_subject
    from mmjrr.joints import H36M_JOINTS_MMPOSE
    from mmjrr.regressors import LabelOffsets

    values = np.zeros((len(subjects), len(H36M_JOINTS_MMPOSE), 3))
    for row, name in enumerate(subjects):
        values[row, _ankle_rows()] = make_subject(seed, name).ankle_offset
    return LabelOffsets(subjects, H36M_JOINTS_MMPOSE, values)


def mpjpe_without(
    fits: LabeledFits, offsets: LabelOffsets, predictions: Path, regressor: JointRegressor
) -> dict[str, float]:
    """Evaluate predictions with labels from which offsets are subtracted.

    Args:
        fits: Bodies whose parts turn the offsets, with the labels.
        offsets: The offsets.
        predictions: File of the predictions.
        regressor: The regressor.

    Returns:
        MPJPE in mm, protocol ``'paper'``, by subject and for ``'all'``.
    """
    from mmjrr.evaluation import evaluate

    labels = fits.fits['S'].astype(np.float64)
    shift = offsets.displacements(fits.rotations(slice(None)), offsets.index_of(fits.subjects))
    labels[..., :3] -= shift.numpy()
    boxes = {name: fits.fits[name] for name in ('center', 'scale', 'part')}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'moved.npz'
        np.savez(path, imgname=np.array(fits.names), S=labels, **boxes)
        result = evaluate(
            predictions, path, {'J_opt': regressor}, 'paper', body_model=fits.body, by=['subject']
        )
    return {score.group: score.mpjpe for score in result.scores}


def compare_offsets(effect: OffsetEffect, planted: LabelOffsets) -> dict[str, Any]:
    """Compare the found offsets with the planted ones.

    Returns:
        Lengths in mm, of the left and right ankle of each subject: ``planted_mm``; ``error_mm``, of
        the found offsets; ``subtracted_error_mm``, of those that are subtracted, zero where not
        significant; ``ankles_flagged``, the number of these; and ``others_flagged``, the lengths of
        the significant offsets of other joints, by subject and joint.
    """
    estimate = effect.estimate
    if estimate.offsets.subjects != planted.subjects:
        raise ValueError(f'found {estimate.offsets.subjects}, expected {planted.subjects}')
    rows = _ankle_rows()
    true = planted.values.numpy()[:, rows]
    flagged = estimate.significant
    lengths = 1000 * np.linalg.norm(estimate.estimates, axis=-1)
    others = flagged.copy()
    others[:, rows] = False

    def lengths_of(vectors: Any) -> list[float]:
        values: list[float] = np.linalg.norm(1000 * vectors, axis=-1).ravel().round(2).tolist()
        return values

    return dict(
        planted_mm=lengths_of(true),
        error_mm=lengths_of(estimate.estimates[:, rows] - true),
        subtracted_error_mm=lengths_of(estimate.offsets.values.numpy()[:, rows] - true),
        ankles_flagged=int(flagged[:, rows].sum()),
        others_flagged={
            f'{planted.subjects[s]} {planted.joint_names[j]}': round(float(lengths[s, j]), 2)
            for s, j in np.argwhere(others)
        },
    )


def _true_fits(truth: Any, fits: LabeledFits, path: Path) -> LabeledFits:
    """Return the true bodies of the frames of fits, with the same labels."""
    from mmjrr.evaluation.label_consistency import LabeledFits

    bodies = truth.parameters('test')
    row = {name: index for index, name in enumerate(bodies['imgname'].tolist())}
    rows = [row[name] for name in fits.names]
    true = {name: bodies[name][rows] for name in ('pose', 'betas', 'transl')}
    np.savez(path, imgname=np.array(fits.names), **{**fits.fits, **true})
    return LabeledFits(path, fits.body)


def _ankles_alone(offsets: LabelOffsets) -> LabelOffsets:
    """Return the offsets, zero at all other joints than the ankles."""
    from mmjrr.regressors import LabelOffsets

    values = np.zeros(offsets.values.shape)
    values[:, _ankle_rows()] = offsets.values.numpy()[:, _ankle_rows()]
    return LabelOffsets(offsets.subjects, offsets.joint_names, values)


def _ankle_rows() -> list[int]:
    from mmjrr.joints import H36M_JOINTS_MMPOSE

    return [H36M_JOINTS_MMPOSE.index(name) for name in ANKLES]


def _differences(effect: OffsetEffect, moved: Mapping[str, float]) -> dict[str, float]:
    return {group: before - moved[group] for group, before in effect.mpjpe.items()}


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(value), 3) for name, value in values.items()}


if __name__ == '__main__':
    sys.exit(main())
