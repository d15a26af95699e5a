"""The end of a refinement: J_opt, the exported fits, and the summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.runner import Runner

from mmjrr.engine.bad_frames import listed
from mmjrr.engine.calibration import FOLDER, Calibration, round_regressor
from mmjrr.engine.last_regressor import fit_last_regressor
from mmjrr.engine.pseudo_gt_export import export_fits, write_summary
from mmjrr.engine.refinement_job import expected_samples
from mmjrr.engine.refinement_options import RefinementOptions
from mmjrr.engine.refinement_start import StartedRefinement
from mmjrr.errors import DataError
from mmjrr.evaluation.predicted_body import gender_of_body
from mmjrr.io import sha256, versions
from mmjrr.refinement import PseudoGTStore
from mmjrr.refinement.left_out import split_left_out


def finish_refinement(
    runner: Runner,
    options: RefinementOptions,
    body: Any,
    started: StartedRefinement,
    store: PseudoGTStore,
) -> None:
    """Fit J_opt, export the refined fits and the summary, and log their paths.

    Args:
        runner: The runner, in whose work directory the files are written.
        options: The options.
        body: The body model of the fits.
        started: What was made before the first batch.
        store: The store of refined fits.

    Raises:
        DataError: No frame could be refined, or a shard is missing.
    """
    work_dir = Path(runner.work_dir)
    expected = expected_samples(runner)
    arrays, left_out = split_left_out(store.load(expected))
    if left_out:
        runner.logger.warning(listed(left_out))
    if not len(arrays['sample_idx']):
        raise DataError(f'refinement: no frame could be refined; {listed(left_out)}')
    total = len(runner.train_dataloader.dataset)
    if options.learn_regressor:
        fit_last_regressor(
            arrays,
            body,
            work_dir,
            None if started.calibration is None else started.calibration.label_offsets,
            frames_in_dataset=total,
            root=options.root,
            batch_size=options.fit_batch_size,
            provenance=started.provenance,
            log=runner.logger.info,
            warn=runner.logger.warning,
        )
    provenance = dict(
        method='mmjrr refinement',
        regressor=refining_regressor(work_dir, options, started.calibration),
        versions=versions(),
        **started.provenance,
    )
    export_fits(work_dir / 'pseudo_gt.npz', arrays, provenance, gender_of_body(body))
    summary = write_summary(
        work_dir / 'refinement.json',
        arrays,
        frames_expected=len({index for batch in expected.values() for index in batch}),
        frames_in_dataset=total,
        term_weights=runner.message_hub.get_info('mmjrr_term_weights', None),
        left_out=left_out,
        agreement=started.agreement,
        calibration=None if started.calibration is None else started.calibration.summary,
        provenance=provenance,
    )
    if empty := summary['frames_with_empty_mask']:
        runner.logger.warning(
            f'{empty} of {summary["frames"]} frames have a mask without foreground in the crop. '
            'They are refined without a mask, and are not part of the mean IoU'
        )
    runner.message_hub.update_info(
        'mmjrr_frames', {name: summary[name] for name in ('frames', 'frames_expected')}
    )
    runner.logger.info(
        f'Refined {summary["frames"]} of {summary["frames_expected"]} frames.\n'
        f'  pseudo ground truth (SPIN layout)  {work_dir / "pseudo_gt.npz"}\n'
        f'  summary                            {work_dir / "refinement.json"}'
    )
    if options.learn_regressor:
        runner.logger.info(
            f'  regressor J_opt                    {work_dir / "J_opt.npy"}\n'
            'Evaluate a model with it: add to its config\n'
            "  test_evaluator = dict(type='mmjrr.JointRegressorMetric', "
            f"regressors=['{work_dir / 'J_opt.npy'}'], protocol='paper')"
        )


def refining_regressor(
    work_dir: Path, options: RefinementOptions, calibration: Calibration | None
) -> str:
    """Return name and checksum of the regressor with which the exported fits were refined."""
    number = 0
    if calibration is not None and options.learn_regressor:
        number = calibration.refining_round
    if number:
        path = round_regressor(work_dir / FOLDER, number)
        return f'{path.relative_to(work_dir).as_posix()} sha256 {sha256(path)}'
    return options.regressor or f'J_spin sha256 {sha256(work_dir / "J_spin.npy")}'
