"""Output files of a refinement run: refined fits in SPIN's layout, and a JSON summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.fits import save_fits
from mmjrr.geometry import PIXELS_PER_SCALE
from mmjrr.io import write_json
from mmjrr.io.mapped import joined
from mmjrr.refinement.left_out import without_nan


def export_fits(
    path: Path, arrays: dict[str, Array], provenance: dict[str, Any], gender: str | None = None
) -> None:
    """Write refined fits in SPIN's npz layout.

    Args:
        path: The npz file.
        arrays: Arrays of all samples, as the store returns them.
        provenance: Description of how the fits were made.
        gender: Gender of the body. Default: None, unknown.
    """
    box = arrays['box']
    joints = joined([arrays['keypoints_3d'], arrays['keypoints_3d_weight'][..., None]], np.float32)
    save_fits(
        path,
        imgname=arrays['imgname'],
        pose=joined([arrays['global_orient'], arrays['body_pose']], np.float32),
        betas=arrays['betas'],
        transl=arrays['transl'],
        center=(box[:, :2] + box[:, 2:]) / 2,
        scale=(box[:, 2] - box[:, 0]) / PIXELS_PER_SCALE,
        part=arrays['keypoints_2d'],
        S=joints,
        gender=gender,
        provenance=provenance,
    )


def write_summary(
    path: Path,
    arrays: dict[str, Array],
    *,
    frames_expected: int,
    frames_in_dataset: int,
    term_weights: dict[str, float] | None,
    left_out: dict[str, str],
    agreement: dict[str, Any] | None = None,
    calibration: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write and return a summary: numbers of frames, and means of energy terms and IoU.

    Frames whose mask has no foreground, whose IoU is NaN, are counted and not in the mean IoU.

    Args:
        path: The JSON file.
        arrays: Arrays of all samples, as the store returns them.
        frames_expected: Number of frames in the run's batches.
        frames_in_dataset: Number of samples of the data set.
        term_weights: Weights of the energy's terms.
        left_out: Why each frame that is not refined is left out, by image name.
        calibration: Rounds and corrections of the calibration.
        agreement: Agreement of initial fits and masks with annotated joints, by subject and camera.
        provenance: Description of how the fits were made.
    """
    summary: dict[str, Any] = {
        'frames': len(arrays['sample_idx']),
        'frames_expected': frames_expected,
        'frames_in_dataset': frames_in_dataset,
        'frames_left_out': left_out,
        'frames_with_empty_mask': int(np.isnan(arrays.get('iou', ())).sum()),
    }
    for name, array in arrays.items():
        if name.startswith(('energy_', 'init_energy_')) or name in ('iou', 'init_iou'):
            known = without_nan(array)
            if len(known):
                summary[name] = float(known.astype(np.float64).mean())
    summary['term_weights'] = term_weights
    if calibration:
        summary['calibration'] = calibration
    if agreement:
        summary['input_agreement'] = agreement
    if provenance:
        summary['provenance'] = provenance
    write_json(path, summary)
    return summary
