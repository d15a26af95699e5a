"""Measure the effect of refinement settings on synthetic sets, over seeds.

    python tools/analysis_tools/experiments.py --out work_dirs/experiments --seeds 0 1 2 3 4
    python tools/analysis_tools/experiments.py --out work_dirs/experiments --only 'masks-*'
    python tools/analysis_tools/result_pages.py collect work_dirs/experiments
    python tools/analysis_tools/result_pages.py write

An experiment (``EXPERIMENTS``) is a synthetic set, what is wrong with its masks, and options of a
refinement config. Each is run for each seed as a user would run it: the set is made, the masks are
simulated, the Runner refines, and the result is compared with the truth.
``OUT/cells/EXPERIMENT_SEED.json`` holds numbers, settings, versions and device. Cells that exist
are kept, so that a stopped run continues; those of other settings are refused. ``--network-masks``
names files of a network's masks of the training images, with ``{seed}`` in place of the seed;
without it, experiments on such masks are left out. ``--soft-masks`` does so for masks with the
network's probabilities (``generate_masks.py --soft``), ``--long-masks`` for those of a network
that was trained for longer, and ``--longest-masks`` for those of one that was trained for longest.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOUR_VIEWS = 'contour-4view_5x80it_synthetic.py'
ONE_VIEW = 'contour-1view_5x80it_synthetic.py'
FROM_JOINTS = 'contour-4view_8x80it_synthetic_from-joints.py'

#: Options of the silhouette term.
CELLS: dict[str, Any] = dict(mask_cells=28)
GATE: dict[str, Any] = dict(gate=True)
#: ``gate='limbs'``, against objects that hide more than hands and feet.
LIMB_GATE: dict[str, Any] = dict(
    gate={
        f'{side}_{joint}': radius / 224
        for side in ('left', 'right')
        for joint, radius in dict(
            hip=26, knee=26, ankle=26, shoulder=26, elbow=26, wrist=20
        ).items()
    }
)
#: Masks: options of :class:`mmjrr.segmentation.simulated_masks.MaskErrors`; ``'network'`` for those
#: of a network, ``'soft'`` for those with its probabilities, ``'long'`` and ``'longest'`` for such
#: masks of networks that were trained for longer.
HEAD: dict[str, Any] = dict(mask_head=True)
ERODED: dict[str, Any] = dict(grow=-1.0)
GROWN: dict[str, Any] = dict(grow=1.0)
CUT: dict[str, Any] = dict(cut=0.6)
OCCLUDED: dict[str, Any] = dict(occluder=0.3, neighbor=0.3)
NETWORK = 'network'
SOFT = 'soft'
LONG = 'long'
LONGEST = 'longest'

#: Options that correct cameras; the 2D labels are projections through the uncorrected ones.
CAMERAS: dict[str, Any] = dict(share=dict(principal_point='camera'), terms=dict(joint_2d=False))
EXTRINSICS: dict[str, Any] = dict(share=dict(extrinsics='camera'), terms=dict(joint_2d=False))
#: Five pixels by rotation, and two by position.
MOVED: dict[str, Any] = dict(camera_rotation_error=0.25, camera_position_error=0.01)
#: People whom the fitted model cannot match, and clothes of some 10 mm, by part of the body.
ANNY: dict[str, Any] = dict(people='anny')
ANNY_CLOTHES: dict[str, Any] = dict(people='anny', clothes=10.0)
OUTLINE: dict[str, Any] = dict(share=dict(outline_offset='subject'))
PART_OUTLINES: dict[str, Any] = dict(share=dict(part_outline_offset='subject'))
#: Bodies that do not follow the errors of a round's regressor.
JOINTS: dict[str, Any] = dict(share=dict(joint_offset='all'))


@dataclass(frozen=True)
class Experiment:
    """A setting of data and refinement.

    Attributes:
        data: Options of :class:`mmjrr.datasets.synthetic.Settings` besides the seed.
        detected_joints: Standard deviation, in pixels per axis, of the noise of a detector's 2D
            joints, which are then the only labels; None for the set's own labels.
        masks: Errors of the masks; None for exact ones, ``'network'``, ``'soft'``, ``'long'`` or
            ``'longest'`` for those of a network.
        config: The refinement config.
        silhouette: Options of the silhouette term that are added to the config's.
        terms: Terms of the energy that replace the config's.
        share: Levels of variables that are added to the config's.
        calibration: Options of the calibration that are added to the config's; None switches the
            calibration off.
        hook: Further options of the hook.
        dataset: Options of the data set that replace the config's.
        first: Whether all seeds come before the others' first. Otherwise three seeds of each of
            the others come before further ones.
        scores: Whether to score the simulated estimators.
        offsets: Whether to test the labels' offsets.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    detected_joints: float | None = None
    masks: Mapping[str, Any] | str | None = None
    config: str = FOUR_VIEWS
    silhouette: Mapping[str, Any] = field(default_factory=dict)
    terms: Mapping[str, Any] = field(default_factory=dict)
    share: Mapping[str, str] = field(default_factory=dict)
    calibration: Mapping[str, Any] | None = field(default_factory=dict)
    hook: Mapping[str, Any] = field(default_factory=dict)
    dataset: Mapping[str, Any] = field(default_factory=dict)
    first: bool = False
    scores: bool = False
    offsets: bool = False


BOTH: dict[str, Any] = {**CELLS, **GATE}
KNOWN: dict[str, Any] = dict(calibration=dict(label_offsets=True), offsets=True)
TEN: dict[str, Any] = dict(calibration=dict(rounds=10))
#: A limit that exact masks and those of a 28x28 head do not reach.
RATIO: dict[str, Any] = dict(max_ratios=dict(silhouette=10.0))
#: Priors of poses, and a silhouette that weighs as much as good masks come to by themselves. At
#: maximum likelihood, weighted terms are to each other as their numbers of independent errors: 17
#: joints of 3 axes in a moment, 23 rotations of 3 axes in each of 4 views and in a moment.
PRIOR_RATIOS: dict[str, Any] = dict(silhouette=3.0, initial_pose=5.4, pose_prior=1.35)
PRIORS: dict[str, Any] = dict(
    terms={name: dict(scale=PRIOR_RATIOS[name]) for name in ('initial_pose', 'pose_prior')},
    calibration=dict(max_ratios=PRIOR_RATIOS),
)
#: The same for masks that are blurred as the network's, so that they may weigh more.
LENS: dict[str, Any] = dict(
    silhouette=dict(CELLS, **GATE, mask_blur=0.7),
    terms=PRIORS['terms'],
    calibration=dict(max_ratios=dict(PRIOR_RATIOS, silhouette=10.0)),
)
#: The same for masks of a better network, whose outlines are sharper.
SHARP_LENS: dict[str, Any] = dict(LENS, silhouette=dict(LENS['silhouette'], mask_blur=0.5))
#: The same with more trust in the masks.
HEAVY_LENS: dict[str, Any] = dict(
    SHARP_LENS, calibration=dict(max_ratios=dict(PRIOR_RATIOS, silhouette=30.0))
)
#: Priors of poses and offsets of parts, for masks of a mask head.
HEAD_PARTS: dict[str, Any] = dict(masks=HEAD, silhouette=BOTH, **PART_OUTLINES, **PRIORS)
#: The energy and offsets of the four-view config for Human3.6M, whose masks are a mask head's, but
#: for the gate, which knows ankles and wrists only.
H36M: dict[str, Any] = dict(HEAD_PARTS, share=dict(PART_OUTLINES['share'], **OUTLINE['share']))
#: The same with corrected principal points.
H36M_CAMERAS: dict[str, Any] = dict(
    H36M,
    share=dict(H36M['share'], **CAMERAS['share']),
    terms=dict(PRIORS['terms'], **CAMERAS['terms']),
)
SHAPE_PRIOR: dict[str, Any] = dict(
    terms=dict(PRIORS['terms'], shape_prior=dict(weight=0.08)),
    calibration=dict(max_ratios=dict(PRIOR_RATIOS, shape_prior=0.8)),
)
DISCRIMINATORS: dict[str, Any] = dict(off=False, on=dict(scale=1.0))
#: An excess of 2.5 degrees counts like the error of one of the 51 joint coordinates at the start:
#: 1 / (51 * 0.044**2).
LIMITS: dict[str, Any] = dict(terms=dict(joint_limits=dict(weight=10.0)))
#: Sequences of 8 frames at 10 per second, seen by one camera, with labels of three times the noise.
#: A fifth of the frames show walking, as with all actions.
MOTION: dict[str, Any] = dict(
    data=dict(
        frame_step=5,
        frames_per_subject=40,
        actions=('Directions', 'Eating', 'Greeting', 'Sitting', 'Walking'),
        label_noise=3.0,
    ),
    dataset=dict(cameras=['60457274']),
    calibration=dict(rounds=3),
    config=ONE_VIEW,
    masks=HEAD,
    silhouette=BOTH,
)
#: Weights about that of maximum likelihood. It is to the weight of ``joint_3d``, 15, as the squares
#: of the labels' noise, 9 mm per axis, and of true deviations from uniform motion, 8 mm: 19.
SMOOTHNESS: dict[str, float] = dict(weak=10.0, middle=50.0, heavy=400.0)
#: Twice the moments, for curves over their number.
MANY: dict[str, Any] = dict(frames_per_subject=32)

EXPERIMENTS: dict[str, Experiment] = {
    'masks-exact': Experiment(first=True, scores=True, offsets=True),
    'masks-head-cells-gate': Experiment(masks=HEAD, silhouette=BOTH, first=True, offsets=True),
    'masks-network-cells-gate': Experiment(masks=NETWORK, silhouette=BOTH, first=True),
    'one-view': Experiment(config=ONE_VIEW, first=True),
    'offsets-exact': Experiment(**KNOWN),
    'offsets-head': Experiment(masks=HEAD, silhouette=BOTH, **KNOWN),
    'offsets-none': Experiment(data=dict(ankle_offsets=False), **KNOWN),
    # Masks with large errors: a weight that follows their errors, or a smaller weight.
    'masks-network-ratio': Experiment(masks=NETWORK, silhouette=BOTH, calibration=RATIO),
    'masks-network-priors': Experiment(masks=NETWORK, silhouette=BOTH, **PRIORS),
    'masks-head-priors': Experiment(masks=HEAD, silhouette=BOTH, **PRIORS),
    'masks-exact-priors': Experiment(**PRIORS),
    # Offsets of the joints from a round's regressor.
    'masks-head-priors-joint-offset': Experiment(
        masks=HEAD, silhouette=BOTH, **JOINTS, **PRIORS
    ),
    'masks-soft-lens': Experiment(masks=SOFT, **LENS, **JOINTS),
    'masks-long-lens': Experiment(masks=LONG, **LENS, **JOINTS),
    'masks-long-sharp-lens': Experiment(masks=LONG, **SHARP_LENS, **JOINTS),
    'masks-long-heavy-lens': Experiment(masks=LONG, **HEAVY_LENS, **JOINTS),
    'masks-longest-sharp-lens': Experiment(masks=LONGEST, **SHARP_LENS, **JOINTS),
    'masks-network-priors-weak': Experiment(
        masks=NETWORK,
        silhouette=BOTH,
        terms=PRIORS['terms'],
        calibration=dict(max_ratios=dict(PRIOR_RATIOS, silhouette=1.0)),
    ),
    'masks-network-priors-shape': Experiment(masks=NETWORK, silhouette=BOTH, **SHAPE_PRIOR),
    # Outlines of clothes, and of masks that are wider than the body.
    'masks-network-priors-outline': Experiment(
        masks=NETWORK, silhouette=BOTH, **OUTLINE, **PRIORS
    ),
    'masks-head-priors-outline': Experiment(masks=HEAD, silhouette=BOTH, **OUTLINE, **PRIORS),
    'masks-head-priors-parts': Experiment(**HEAD_PARTS),
    'masks-head-h36m': Experiment(**H36M),
    'masks-network-priors-parts': Experiment(
        masks=NETWORK, silhouette=BOTH, **PART_OUTLINES, **PRIORS
    ),
    'masks-network-weak': Experiment(masks=NETWORK, silhouette=dict(BOTH, scale=1.0)),
    # Fits that are made of the labels' 3D joints, with the options of other fits and their own.
    'from-joints': Experiment(dataset=dict(fits_file=None)),
    'from-joints-rest-pose': Experiment(config=FROM_JOINTS),
    'from-joints-joint-offset': Experiment(config=FROM_JOINTS, **JOINTS),
    'from-2d-joints': Experiment(
        detected_joints=3.0, config=FROM_JOINTS, dataset=dict(triangulate=True)
    ),
    # What masks lose, and what the silhouette term's options recover.
    'masks-network': Experiment(masks=NETWORK),
    'masks-head': Experiment(masks=HEAD),
    'masks-head-cells': Experiment(masks=HEAD, silhouette=CELLS),
    'masks-cut': Experiment(masks=CUT),
    'masks-cut-gate': Experiment(masks=CUT, silhouette=GATE),
    'masks-cut-cells-gate': Experiment(masks=CUT, silhouette=BOTH),
    'masks-eroded': Experiment(masks=ERODED),
    'masks-eroded-cells-gate': Experiment(masks=ERODED, silhouette=BOTH),
    'masks-eroded-corrected': Experiment(masks=ERODED, **OUTLINE),
    'masks-exact-cells-gate': Experiment(silhouette=BOTH),
    # Outside the world that the fitted model can match.
    'cameras-off': Experiment(data=dict(camera_error=5.0)),
    'late-camera': Experiment(data=dict(late_frames=1)),
    'noisy-labels': Experiment(data=dict(label_noise=3.0)),
    'clothes': Experiment(masks=GROWN),
    'cameras-off-corrected': Experiment(data=dict(camera_error=5.0), **CAMERAS),
    'cameras-right-corrected': Experiment(**CAMERAS),
    'cameras-right-wo-joint-2d': Experiment(terms=CAMERAS['terms']),
    'extrinsics-off': Experiment(data=MOVED),
    'extrinsics-off-corrected': Experiment(data=MOVED, **EXTRINSICS),
    'extrinsics-right-corrected': Experiment(**EXTRINSICS),
    # A correction against the other error.
    'extrinsics-off-principal-points': Experiment(data=MOVED, **CAMERAS),
    'clothes-corrected': Experiment(masks=GROWN, **OUTLINE),
    'clothes-priors-corrected': Experiment(masks=GROWN, **OUTLINE, **PRIORS),
    'no-clothes-corrected': Experiment(**OUTLINE),
    'clothes-parts': Experiment(masks=GROWN, **PART_OUTLINES),
    'no-clothes-parts': Experiment(**PART_OUTLINES),
    'anny': Experiment(data=ANNY),
    'anny-clothes': Experiment(data=ANNY_CLOTHES),
    'anny-clothes-corrected': Experiment(data=ANNY_CLOTHES, **OUTLINE),
    'anny-clothes-parts': Experiment(data=ANNY_CLOTHES, **PART_OUTLINES),
    'anny-head-priors': Experiment(data=ANNY, masks=HEAD, silhouette=BOTH, **PRIORS),
    'anny-clothes-head-priors-outline': Experiment(
        data=ANNY_CLOTHES, masks=HEAD, silhouette=BOTH, **OUTLINE, **PRIORS
    ),
    'anny-clothes-head-priors-parts': Experiment(data=ANNY_CLOTHES, **HEAD_PARTS),
    'clothes-head-priors-parts': Experiment(**dict(HEAD_PARTS, masks=dict(HEAD, **GROWN))),
    'masks-cut-head-priors-parts': Experiment(**dict(HEAD_PARTS, masks=dict(HEAD, **CUT))),
    # The four-view config for Human3.6M outside the world that the fitted model can match.
    'clothes-h36m': Experiment(**dict(H36M, masks=dict(HEAD, **GROWN))),
    'anny-clothes-h36m': Experiment(data=ANNY_CLOTHES, **H36M),
    'masks-occluded-h36m': Experiment(**dict(H36M, masks=dict(HEAD, **OCCLUDED))),
    'masks-occluded-h36m-limb-gate': Experiment(
        **dict(H36M, masks=dict(HEAD, **OCCLUDED), silhouette=dict(CELLS, **LIMB_GATE))
    ),
    'masks-head-h36m-limb-gate': Experiment(**dict(H36M, silhouette=dict(CELLS, **LIMB_GATE))),
    'cameras-off-h36m': Experiment(data=dict(camera_error=5.0), **H36M),
    'cameras-off-h36m-corrected': Experiment(data=dict(camera_error=5.0), **H36M_CAMERAS),
    # Drift over rounds.
    'drift-four-exact': Experiment(**TEN),
    'drift-one-exact': Experiment(config=ONE_VIEW, **TEN),
    'drift-four-head': Experiment(masks=HEAD, silhouette=BOTH, **TEN),
    'drift-one-head': Experiment(config=ONE_VIEW, masks=HEAD, silhouette=BOTH, **TEN),
    # Moments of the calibration, whose cameras and shapes all frames are then refined with.
    **{
        f'moments-{count}': Experiment(data=MANY, calibration=dict(moments=count))
        for count in (10, 40, 80, 160)
    },
    # The same with the options of the four-view config for Human3.6M.
    'moments-40-h36m': Experiment(
        **dict(H36M, data=MANY, calibration=dict(PRIORS['calibration'], moments=40))
    ),
    # Twice the steps for the frames outside the calibration.
    'moments-40-h36m-160it': Experiment(
        **dict(
            H36M,
            data=MANY,
            calibration=dict(PRIORS['calibration'], moments=40, refiner=dict(num_iters=80)),
            hook=dict(refiner=dict(num_iters=160)),
        )
    ),
    # Discriminators: every moment by itself, since they learn from batch to batch.
    **{
        f'discriminators-{masks}-{word}': Experiment(
            masks=None if masks == 'exact' else HEAD,
            silhouette={} if masks == 'exact' else BOTH,
            terms=dict.fromkeys(('adv_pose', 'adv_shape'), option),
            share=dict(betas='moment'),
            calibration=None,
        )
        for masks in ('exact', 'head')
        for word, option in DISCRIMINATORS.items()
    },
    # The same on 2,000 frames.
    **{
        f'discriminators-many-{word}': Experiment(
            data=dict(frames_per_subject=100),
            masks=HEAD,
            silhouette=BOTH,
            terms=dict.fromkeys(('adv_pose', 'adv_shape'), option),
            share=dict(betas='moment'),
            calibration=None,
        )
        for word, option in DISCRIMINATORS.items()
    },
    # Smoothness, and joint limits, on sequences.
    'motion': Experiment(**MOTION),
    'motion-limits': Experiment(**MOTION, **LIMITS),
    **{
        f'motion-smooth-{word}': Experiment(
            **MOTION, terms=dict(smoothness=dict(weight=weight))
        )
        for word, weight in SMOOTHNESS.items()
    },
}  # fmt: skip


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument('--only', nargs='+', default=['*'], help='experiments, with * and ?')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--network-masks', help='masks of a network, such as masks/{seed}.json')
    parser.add_argument('--soft-masks', help='masks of a network with its probabilities')
    parser.add_argument('--long-masks', help='the same of a network that was trained for longer')
    parser.add_argument('--longest-masks', help='the same of one that was trained for longest')
    parser.add_argument('--data', type=Path, help='folder of the sets (default: OUT/sets)')
    parser.add_argument('--workers', type=int, default=1, help='cells at once')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--minutes', type=float, help='when to start no further cell')
    parser.add_argument('--frames-per-subject', type=int, help='instead of those of the table')
    parser.add_argument('--steps', type=int, help="Adam steps of a round, instead of the config's")
    args = parser.parse_args()
    if args.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''
    cells = [cell[1:] for cell in sorted(_cells(args), key=lambda cell: cell[0])]
    if not cells:
        parser.error(f'--only: found {args.only}, expected some of {list(EXPERIMENTS)}')
    missing = [file for name, seed in cells for file in _missing_masks(args, name, seed)]
    if missing:
        parser.error(missing[0])
    failed = _run_all(args, cells)
    print(f'{len(cells) - len(failed)} of {len(cells)} cells are in {args.out / "cells"}')
    return 1 if failed else 0


def _cells(args: argparse.Namespace) -> Iterator[tuple[int, str, int]]:
    """Yield rank, experiment and seed of each cell."""
    for name, experiment in EXPERIMENTS.items():
        if not any(fnmatch.fnmatch(name, pattern) for pattern in args.only):
            continue
        if isinstance(experiment.masks, str) and _files_of(args, experiment.masks) is None:
            print(f'{name}: left out, since there are no --{experiment.masks}-masks')
            continue
        for number, seed in enumerate(args.seeds):
            yield 0 if experiment.first else 1 + number // 3, name, seed


def _files_of(args: argparse.Namespace, masks: str) -> str | None:
    """Return the names of a network's mask files, as the command line gives them."""
    files: str | None = getattr(args, f'{masks}_masks')
    return files


def _missing_masks(args: argparse.Namespace, name: str, seed: int) -> Iterator[str]:
    """Yield what is wrong if an unfinished cell needs a network's masks that are not there."""
    masks = EXPERIMENTS[name].masks
    if not isinstance(masks, str) or _path(args, name, seed).is_file():
        return
    files = str(_files_of(args, masks))
    if '{seed}' not in files and len(args.seeds) > 1:
        yield f'--{masks}-masks: found {files!r}, expected a name with {{seed}} in it'
    elif not Path(files.replace('{seed}', str(seed))).is_file():
        yield f'--{masks}-masks: {files.replace("{seed}", str(seed))}: no such file'


def _run_all(args: argparse.Namespace, cells: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Run cells in processes; return those without a result."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    args.deadline = None if args.minutes is None else time.time() + 60 * args.minutes
    todo = [cell for cell in cells if not _is_finished(args, *cell)]
    if args.workers == 1:
        for cell in todo:
            _run_cell((args, *cell))
    else:
        # Processes are spawned: a forked one cannot use CUDA if its parent has.
        context = multiprocessing.get_context('spawn')
        with ProcessPoolExecutor(args.workers, context) as pool:
            done = [pool.submit(_run_cell, (args, *cell)) for cell in todo]
            failures = 0
            for finished in as_completed(done):
                failures = -len(todo) if finished.result() else failures + 1
                if failures >= args.workers:
                    print('The first cells have all failed; the others are left out.')
                    pool.shutdown(cancel_futures=True)
                    break
    return [cell for cell in cells if not _path(args, *cell).is_file()]


def _path(args: argparse.Namespace, name: str, seed: int) -> Path:
    path: Path = args.out / 'cells' / f'{name}_{seed}.json'
    return path


def _settings(args: argparse.Namespace, experiment: Experiment) -> dict[str, Any]:
    """Return what a cell depends on, besides its seed."""
    options = dict(steps=args.steps, frames_per_subject=args.frames_per_subject)
    settings: dict[str, Any] = json.loads(
        json.dumps({**dataclasses.asdict(experiment), **options}, default=str)
    )
    del settings['first']  # when a cell is run
    return settings


def _is_finished(args: argparse.Namespace, name: str, seed: int) -> bool:
    """Return whether a cell's file exists.

    Raises:
        SystemExit: It was made with other settings.
    """
    path = _path(args, name, seed)
    if not path.is_file():
        return False
    expected = _settings(args, EXPERIMENTS[name])
    for key, value in json.loads(path.read_text())['settings'].items():
        if value != expected.get(key):
            sys.exit(
                f'error: {path}: {key}: found {value!r}, expected {expected.get(key)!r}; give '
                'another --out, or remove the file and its run'
            )
    return True


def _run_cell(cell: tuple[argparse.Namespace, str, int]) -> bool:
    """Run a cell and write its file; print the error of one that fails, and return False."""
    args, name, seed = cell
    if args.deadline is not None and time.time() > args.deadline:
        return True
    try:
        start = time.perf_counter()
        result = _measured(args, name, EXPERIMENTS[name], seed)
        print(f'{name}_{seed}: {time.perf_counter() - start:.0f} s, {_shown(result)}', flush=True)
    except Exception:
        print(f'{name}_{seed} failed:\n{traceback.format_exc()}', file=sys.stderr, flush=True)
        return False
    return True


def _shown(result: Mapping[str, Any]) -> str:
    fits, errors = result['pseudo_gt'], result['regressor_error_mm']
    return (
        f'PVE {fits["pve_init_mm"]:.1f} -> {fits["pve_opt_mm"]:.1f} mm, J_opt {errors["J_opt"]:.1f}'
        f', floor {errors["floor"]:.1f}'
    )


# -- a cell ------------------------------------------------------------------------------------


def _measured(
    args: argparse.Namespace, name: str, experiment: Experiment, seed: int
) -> dict[str, Any]:
    """Run an experiment with a seed, and write what it gives."""
    import torch

    from mmjrr.cli.demo import compare_rounds
    from mmjrr.io import versions, write_json
    from mmjrr.io.provenance import processor

    torch.set_num_threads(max(1, torch.get_num_threads() if args.workers == 1 else 1))
    seconds: dict[str, float] = {}
    with _timed('data', seconds):
        data = _data_set(args, experiment, seed)
        masks = _masks(args, experiment, data, seed)
    work_dir = args.out / 'runs' / f'{name}_{seed}'
    cfg = _config(args, experiment, seed, data, masks, work_dir)
    with _timed('refinement', seconds):
        _refine(cfg, work_dir)
    with _timed('truth', seconds):
        refinement = json.loads((work_dir / 'refinement.json').read_text())
        result: dict[str, Any] = dict(
            experiment=name,
            seed=seed,
            settings=_settings(args, experiment),
            refinement=refinement,
            **_compared_with_truth(data, work_dir, refinement),
            rounds=compare_rounds(data, work_dir),
            parts=_errors_by_part(data, work_dir),
            beyond_limits=_beyond_limits(data, work_dir),
        )
        if 'frame_step' in experiment.data:
            result['deviation_mm'] = _deviations(data, work_dir)
        if masks is not None:
            result['mask_iou'] = _mask_iou(data, masks)
        if experiment.data.get('camera_error') or experiment.share.get('principal_point'):
            result['principal_points_px'] = _principal_point_errors(data, refinement, seed)
        if experiment.data.get('camera_rotation_error') or experiment.share.get('extrinsics'):
            result['cameras'] = _camera_errors(data, refinement, seed)
        if experiment.offsets:
            result['label_offsets'] = _label_offsets(data, work_dir, seed)
    if experiment.scores:
        with _timed('scores', seconds):
            result['scores'] = _explained_scores(data, work_dir)
    result.update(
        config=experiment.config,
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else processor(),
        seconds={key: round(value, 1) for key, value in seconds.items()},
        versions=versions(),
    )
    write_json(_path(args, name, seed), result)
    return result


@contextmanager
def _timed(name: str, seconds: dict[str, float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def _once(path: Path, make: Callable[[], Any]) -> Path:
    """Make a file unless it exists; other processes wait until it is there."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f'.{path.name}.lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file():
            make()
    return path


def _data_set(args: argparse.Namespace, experiment: Experiment, seed: int) -> Path:
    """Make the set of an experiment, which other experiments may share."""
    from mmjrr.datasets.synthetic import Settings, generate
    from mmjrr.io import write_json

    options = dict(experiment.data)
    if args.frames_per_subject is not None:
        options['frames_per_subject'] = args.frames_per_subject
    words = [f'{key}-{_in_name(value)}' for key, value in sorted(options.items())]
    folder = (args.data or args.out / 'sets') / '_'.join([f'seed-{seed}', *words])
    noise = experiment.detected_joints
    if noise is not None:
        folder = folder.with_name(f'{folder.name}_detected_joints-{noise:g}')
    settings = Settings(seed=seed, synchronous=True, images=False, **options)
    _once(folder / 'synthetic.json', lambda: generate(folder, settings, 1, progress=False))
    if noise is not None:
        note = folder / 'detected_joints.json'
        _once(note, lambda: write_json(note, _detect_joints(folder, noise, seed)))
    return folder


def _detect_joints(data: Path, noise: float, seed: int) -> dict[str, float]:
    """Leave 2D joints with a detector's noise as the only training labels.

    The file holds the triangulated joints too. Their weight is 0, so refinement does not read them;
    the floor of the set is that of these labels.

    Returns:
        How far the triangulated joints lie from the set's own 3D labels, mm.
    """
    import numpy as np

    from mmjrr.datasets import H36MFitsDataset
    from mmjrr.datasets.synthetic.dataset_files import write_npz
    from mmjrr.io import read_npz

    path = data / 'annotation_body3d' / 'fps10' / 'h36m_train.npz'
    of_set = path.with_name('h36m_train_of_set.npz')
    labels = read_npz(_once(of_set, lambda: write_npz(of_set, read_npz(path))))
    part, joints = labels['part'].copy(), labels['S'].copy()
    part[..., :2] += np.random.default_rng(seed).normal(0, noise, part[..., :2].shape)
    write_npz(path, dict(labels, part=part, S=np.zeros_like(joints)))
    dataset = H36MFitsDataset(
        data_root=str(data),
        ann_file='annotation_body3d/fps10/h36m_train.npz',
        camera_param_file='annotation_body3d/cameras.pkl',
        triangulate=True,
    )
    if dataset.annotations.imgname.tolist() != labels['imgname'].tolist():
        raise RuntimeError(f'{path}: frames without triangulated joints: {dataset.report}')
    found = dataset.annotations.S[..., :3]
    write_npz(path, dict(labels, part=part, S=np.dstack([found, np.zeros(found.shape[:2])])))
    errors = np.linalg.norm(found - joints[..., :3], axis=-1)
    return dict(mean_mm=1000 * float(errors.mean()), largest_mm=1000 * float(errors.max()))


def _in_name(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return '-'.join(value)
    return value if isinstance(value, str) else f'{value:g}'


def _masks(args: argparse.Namespace, experiment: Experiment, data: Path, seed: int) -> Path | None:
    """Return the file of an experiment's masks; None for exact ones."""
    from mmjrr.datasets import H36MFitsDataset
    from mmjrr.segmentation.simulated_masks import MaskErrors, simulate_masks

    if experiment.masks is None:
        return None
    if isinstance(experiment.masks, str):
        return Path(str(_files_of(args, experiment.masks)).replace('{seed}', str(seed))).resolve()
    errors = MaskErrors(**experiment.masks)
    words = '_'.join(f'{key}-{value:g}' for key, value in sorted(experiment.masks.items()))

    def make() -> None:
        dataset = H36MFitsDataset(
            data_root=str(data),
            ann_file='annotation_body3d/fps10/h36m_train.npz',
            mask_file='masks/h36m_train.json',
        )
        simulate_masks(path, dataset, errors)

    path = (data / 'masks' / f'h36m_train_{words}.json').resolve()
    return _once(path, make)


def _config(
    args: argparse.Namespace,
    experiment: Experiment,
    seed: int,
    data: Path,
    masks: Path | None,
    work_dir: Path,
) -> Any:
    from mmengine.config import Config

    cfg = Config.fromfile(str(ROOT / 'configs/refinement' / experiment.config))
    cfg.work_dir = str(work_dir)
    cfg.train_dataloader.dataset.data_root = str(data)
    if masks is not None:
        cfg.train_dataloader.dataset.mask_file = str(masks)
    cfg.train_dataloader.dataset.update(experiment.dataset)
    cfg.custom_hooks = cfg.custom_hooks[:1]  # there are no images to draw on
    hook = cfg.custom_hooks[0]
    hook.check_inputs = False  # errors are planted
    hook.update(experiment.hook)
    hook.energy.terms.silhouette.update(experiment.silhouette)
    hook.energy.terms.update(experiment.terms)
    hook.refiner.share.update(experiment.share)
    if experiment.calibration is None:
        hook.calibration = None
    else:
        hook.calibration.update(experiment.calibration)
    if args.steps is not None:
        hook.refiner.num_iters = args.steps
    if args.device == 'cuda':  # few large batches
        hook.refiner.chunk_size = 320
        if hook.calibration is not None:
            cfg.train_dataloader.batch_size = 320
    cfg.randomness.seed = seed
    cfg.log_level = 'ERROR'
    cfg.experiment_name = cfg.visualizer.name = f'{work_dir.name}_{time.time_ns()}'
    cfg.resume = (work_dir / 'pseudo_gt').is_dir()
    return cfg


def _refine(cfg: Any, work_dir: Path) -> None:
    import io
    from contextlib import redirect_stdout

    from mmengine.runner import Runner

    if not (work_dir / 'refinement.json').is_file():
        with redirect_stdout(io.StringIO()):
            Runner.from_cfg(cfg).train()


def _compared_with_truth(
    data: Path, work_dir: Path, refinement: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Measure fits and regressors as the demo does; the floor of a set is measured once."""
    from mmjrr.body_models import free_body
    from mmjrr.datasets.synthetic.truth import SyntheticTruth
    from mmjrr.io import read_npz, write_json
    from mmjrr.regressors import JointRegressor

    truth = SyntheticTruth(data, free_body())
    fits = {
        'init': read_npz(_initial_fits(data, work_dir)),
        'opt': read_npz(work_dir / 'pseudo_gt.npz'),
    }
    floor = data / 'truth' / 'floor.json'
    _once(floor, lambda: write_json(floor, dict(floor_mm=truth.floor_mm())))
    limits: dict[str, float] = {}
    if 'phenotypes' in truth.parameters('train'):  # no free body equals these people
        path = data / 'truth' / 'limits.json'
        _once(path, lambda: write_json(path, truth.limits_mm()))
        limits = json.loads(path.read_text())
    regressors = {
        'J_std': data / 'regressors' / 'J_std.npy',
        'J_spin': work_dir / 'J_spin.npy',
        'J_opt': work_dir / 'J_opt.npy',
    }
    errors = {
        name: round(truth.regressor_error_mm(JointRegressor.load(path)), 2)
        for name, path in regressors.items()
    }
    errors['floor'] = round(json.loads(floor.read_text())['floor_mm'], 2)
    if limits:
        errors['nearest'] = round(limits['fitted_regressor'], 2)
    pseudo_gt = {f'pve_{name}_mm': round(truth.vertex_error_mm(f), 2) for name, f in fits.items()}
    feet = {
        f'feet_pve_{name}_mm': round(truth.vertex_error_mm(f, part='feet'), 2)
        for name, f in fits.items()
    }
    pseudo_gt |= {
        f'pve_{name}_mm': round(limits[name], 2) for name in ('posed', 'fitted') if name in limits
    }
    pseudo_gt |= dict(
        iou_init=round(refinement['init_iou'], 4), iou_opt=round(refinement['iou'], 4)
    )
    return dict(pseudo_gt=pseudo_gt, regressor_error_mm=errors, ablation=feet)


def _initial_fits(data: Path, work_dir: Path) -> Path:
    """Return the file of the fits that a run started from."""
    from_joints = work_dir / 'initial_fits.npz'
    return from_joints if from_joints.is_file() else data / 'fits' / 'spin_like_train.npz'


def _mask_iou(data: Path, masks: Path) -> float:
    from mmjrr.datasets.masks import Masks
    from mmjrr.segmentation import compare_masks

    exact = Masks(data / 'masks' / 'h36m_train.json')
    return round(float(compare_masks(Masks(masks), exact)['iou']), 4)


def _cameras(data: Path, seed: int) -> Iterator[tuple[str, Any, Any]]:
    """Yield each training camera's name, the camera as calibrated, and the one of the images."""
    from mmjrr.datasets.synthetic import camera_rig

    settings = json.loads((data / 'synthetic.json').read_text())['settings']
    names = ('camera_error', 'camera_rotation_error', 'camera_position_error')
    errors = [settings.get(name, 0) for name in names]
    for subject in ('S1', 'S5', 'S6', 'S7', 'S8'):
        for camera_id, camera in camera_rig.make_cameras(seed, subject).items():
            true = camera_rig.miscalibrated(seed, subject, camera_id, camera, *errors)
            yield f'{subject} {camera_id}', camera, true


def _principal_point_errors(
    data: Path, refinement: Mapping[str, Any], seed: int
) -> dict[str, float]:
    """Return the errors in pixels of the principal points and of the corrected ones, means."""
    import numpy as np

    found = refinement['calibration'].get('principal_point_px', {})
    before, after = [], []
    for name, camera, true in _cameras(data, seed):
        shift = (true.principal_point - camera.principal_point)[0].numpy()
        before.append(np.linalg.norm(shift))
        after.append(np.linalg.norm(shift - found.get(name, [0, 0])))
    return dict(before=round(float(np.mean(before)), 2), after=round(float(np.mean(after)), 2))


def _camera_errors(
    data: Path, refinement: Mapping[str, Any], seed: int
) -> dict[str, dict[str, float]]:
    """Return the errors of cameras and of corrected cameras, means over cameras.

    ``px`` is the mean distance in the image of the annotated joints, seen by the camera and by the
    true one; ``degrees`` is the angle between their rotations, and ``mm`` the distance between
    their centers.
    """
    import numpy as np
    from scipy.spatial.transform import Rotation

    from mmjrr.datasets.image_names import parse_image_name
    from mmjrr.datasets.synthetic.camera_rig import project
    from mmjrr.io import read_npz

    labels = read_npz(data / 'annotation_body3d' / 'fps10' / 'h36m_train.npz')
    names = [parse_image_name(name) for name in labels['imgname'].tolist()]
    of_frames = np.array([f'{name.subject} {name.camera}' for name in names])
    found = refinement['calibration']
    zero = [0.0, 0.0, 0.0]
    columns: dict[str, dict[str, list[float]]] = {}
    for name, camera, true in _cameras(data, seed):
        joints = labels['S'][of_frames == name, :, :3].reshape(-1, 3)
        R, T = camera.rotation[0].numpy(), camera.position[0].numpy()
        expected = (joints @ R + T - true.position[0].numpy()) @ true.rotation[0].numpy().T
        expected = project(expected, true)
        for key, source in (('before', {}), ('after', found)):
            turn = Rotation.from_rotvec(
                np.radians(source.get('extrinsic_rotation_deg', {}).get(name, zero))
            ).as_matrix()
            shift = np.array(source.get('extrinsic_translation_mm', {}).get(name, zero)) / 1000
            seen = project(joints @ turn.T + shift, camera)
            seen += source.get('principal_point_px', {}).get(name, zero[:2])
            angle = Rotation.from_matrix(turn @ R @ true.rotation[0].numpy().T).magnitude()
            center = T - (turn @ R).T @ shift
            errors = dict(
                px=float(np.linalg.norm(seen - expected, axis=1).mean()),
                degrees=float(np.degrees(angle)),
                mm=float(1000 * np.linalg.norm(center - true.position[0].numpy())),
            )
            for unit, error in errors.items():
                columns.setdefault(key, {}).setdefault(unit, []).append(error)
    return {
        key: {unit: round(float(np.mean(values)), 2) for unit, values in errors.items()}
        for key, errors in columns.items()
    }


def _label_offsets(data: Path, work_dir: Path, seed: int) -> dict[str, Any]:
    """Compare label offsets found in the refined fits with the planted ones.

    ``error_mm`` is the error of the estimates, ``delivered_error_mm`` that of the offsets that a
    regressor fit gets: those that are not significant are zero.
    """
    import numpy as np

    from mmjrr.body_models import free_body
    from mmjrr.datasets.synthetic.subjects import make_subject
    from mmjrr.evaluation.label_consistency import LabeledFits, label_consistency

    settings = json.loads((data / 'synthetic.json').read_text())['settings']
    result = label_consistency(LabeledFits(work_dir, free_body()), root=None).result
    offsets = result.offsets
    ankles = [offsets.joint_names.index(f'{side}_ankle') for side in ('left', 'right')]
    values = offsets.values.numpy()
    errors, delivered, sizes = [], [], []
    for row, subject in enumerate(offsets.subjects):
        planted = make_subject(
            seed, subject, ankle_offsets=settings.get('ankle_offsets', True)
        ).ankle_offset
        sizes += (1000 * np.linalg.norm(planted, axis=1)).tolist()
        errors += (1000 * np.linalg.norm(result.estimates[row, ankles] - planted, axis=1)).tolist()
        delivered += (1000 * np.linalg.norm(values[row, ankles] - planted, axis=1)).tolist()
    other_joints = result.significant.copy()
    other_joints[:, ankles] = False
    lengths = 1000 * np.linalg.norm(result.estimates, axis=-1)
    return dict(
        planted_mm=[round(v, 2) for v in sizes],
        error_mm=[round(v, 2) for v in errors],
        delivered_error_mm=[round(v, 2) for v in delivered],
        ankles_flagged=int(result.significant[:, ankles].sum()),
        others_flagged={
            f'{offsets.subjects[s]} {offsets.joint_names[j]}': round(float(lengths[s, j]), 2)
            for s, j in np.argwhere(other_joints)
        },
    )


def _errors_by_part(data: Path, work_dir: Path) -> dict[str, dict[str, float]]:
    """Measure by part of the body what is wrong with the refined fits, in mm.

    Returns:
        By part, and for ``all`` vertices, mean distances from the true vertices, pelvis-aligned:
        ``fits``; ``shape``, of true poses with the fits' shapes; ``pose``, of the fits' poses with
        true shapes; and ``initial``, of true bodies whose feet, hands, neck and head turn as the
        mean of the initial fits of a moment's views.
    """
    import numpy as np
    import torch

    from mmjrr.body_models import free_body
    from mmjrr.datasets.image_names import parse_image_name
    from mmjrr.datasets.sequences import moment_index
    from mmjrr.datasets.synthetic.truth import SyntheticTruth
    from mmjrr.geometry import axis_angle_to_matrix, matrix_to_axis_angle
    from mmjrr.io import read_npz
    from mmjrr.joints import BODY_PARTS, SMPL_JOINTS
    from mmjrr.refinement.variables import mean_by_group, nearest_rotation

    truth = SyntheticTruth(data, free_body())
    fits = read_npz(work_dir / 'pseudo_gt.npz')
    names = fits['imgname'].tolist()

    def rows_of(parameters: dict[str, Any]) -> dict[str, Any]:
        row = {name: number for number, name in enumerate(parameters['imgname'].tolist())}
        rows = [row[name] for name in names]
        return {
            key: parameters[key][rows]
            for key in ('pose', 'betas', 'phenotypes')
            if key in parameters
        }

    people = rows_of(truth.parameters('train'))
    true = {key: people[key] for key in ('pose', 'betas')}  # the nearest free bodies' shapes
    initial = rows_of(read_npz(_initial_fits(data, work_dir)))
    moment = torch.from_numpy(moment_index([parse_image_name(name) for name in names]))
    turns = axis_angle_to_matrix(torch.from_numpy(initial['pose']).float().reshape(-1, 24, 3))
    mean = matrix_to_axis_angle(nearest_rotation(mean_by_group(turns, moment)))[moment]
    ends = [
        number
        for number, name in enumerate(SMPL_JOINTS)
        if name.split('_')[-1] in ('ankle', 'foot', 'wrist', 'hand', 'neck', 'head')
    ]
    turned = true['pose'].reshape(-1, 24, 3).copy()
    turned[:, ends] = mean[:, ends].numpy()
    bodies = dict(
        fits={key: fits[key] for key in ('pose', 'betas')},
        shape=dict(true, betas=fits['betas']),
        pose=dict(true, pose=fits['pose']),
        initial=dict(true, pose=turned.reshape(-1, 72)),
    )

    def vertices(parameters: dict[str, Any]) -> Iterator[Any]:
        still = dict(parameters, transl=np.zeros((len(names), 3), dtype=np.float32))
        for meshes in truth.vertices(still):
            yield meshes - truth.regressor(meshes)[:, :1]

    part_of_joint = {joint: part for part, joints in BODY_PARTS.items() for joint in joints}
    carrier = truth.body.weight_planes.argmax(0).tolist()
    part_of_vertex = np.array([part_of_joint[SMPL_JOINTS[joint]] for joint in carrier])
    result: dict[str, dict[str, float]] = {part: {} for part in (*BODY_PARTS, 'all')}
    for key, parameters in bodies.items():
        sums = sum(
            (a - b).norm(dim=-1).double().sum(0)
            for a, b in zip(vertices(parameters), vertices(people), strict=True)
        )
        errors = 1000 * np.asarray(sums) / len(names)
        for part, row in result.items():
            chosen = errors if part == 'all' else errors[part_of_vertex == part]
            row[key] = round(float(chosen.mean()), 2)
    return result


def _beyond_limits(data: Path, work_dir: Path) -> dict[str, float]:
    """Return the shares of refined frames in which a joint's rotation exceeds its limits."""
    import torch

    from mmjrr.geometry import axis_angle_to_matrix
    from mmjrr.refinement.terms.joint_limits import JointLimitsTerm, joint_limits_energy

    term = JointLimitsTerm()
    shares = {}
    for key, bodies in _true_initial_and_refined(data, work_dir).items():
        pose = torch.from_numpy(bodies['pose']).to(term.low).unflatten(1, (24, 3))
        values = joint_limits_energy(axis_angle_to_matrix(pose), term.low, term.high)
        shares[key] = round(float((values > 0).double().mean()), 4)
    return shares


def _deviations(data: Path, work_dir: Path) -> dict[str, float]:
    """Measure how far joints lie off the line between those of the frames before and after.

    Returns:
        Root mean squares per axis in mm, of the true regressor's joints, for frames with two
        neighbors within 10 frames.
    """
    import numpy as np
    import torch

    from mmjrr.body_models import free_body
    from mmjrr.datasets.image_names import parse_image_name
    from mmjrr.datasets.synthetic.truth import SyntheticTruth
    from mmjrr.refinement.terms import smoothness_energy

    truth = SyntheticTruth(data, free_body())
    bodies = _true_initial_and_refined(data, work_dir)
    names = [parse_image_name(name) for name in bodies['refined']['imgname'].tolist()]
    videos = [f'{name.sequence}.{name.camera}' for name in names]
    video = torch.from_numpy(np.unique(videos, return_inverse=True)[1])
    frame = torch.tensor([name.frame for name in names])
    deviations = {}
    for key in ('true', 'refined'):
        joints = torch.cat([truth.regressor(mesh) for mesh in truth.vertices(bodies[key])])
        values = smoothness_energy(joints.double(), video, frame, max_gap=10)
        squares = values[values > 0] / joints[0].numel()
        deviations[key] = round(1000 * float(squares.mean().sqrt()), 2)
    return deviations


def _true_initial_and_refined(data: Path, work_dir: Path) -> dict[str, dict[str, Any]]:
    """Return the bodies of the refined frames: the true ones, initial fits, and refined fits."""
    from mmjrr.io import read_npz

    refined = read_npz(work_dir / 'pseudo_gt.npz')
    bodies = dict(
        true=read_npz(data / 'truth' / 'h36m_train.npz'),
        initial=read_npz(_initial_fits(data, work_dir)),
        refined=refined,
    )
    for key, values in bodies.items():
        row = {name: number for number, name in enumerate(values['imgname'].tolist())}
        rows = [row[name] for name in refined['imgname'].tolist()]
        kept = {
            name: values[name] for name in ('imgname', 'pose', 'betas', 'transl') if name in values
        }
        bodies[key] = {name: value[rows] for name, value in kept.items()}
    return bodies


def _explained_scores(data: Path, work_dir: Path) -> dict[str, Any]:
    """Explain the simulated estimators' scores under each regressor.

    An estimator's joints ``J V'`` lie off the labels ``Y`` by ``(J - J*) V'``, what the regressor
    gets wrong on the estimator's bodies, plus ``J* V' - Y``, what the bodies get wrong (and the
    labels). A regressor scores better than the true one ``J*`` if the first part cancels some of
    the second. ``fractions`` is the MPJPE of bodies that have only a part of the estimator's errors
    of pose and shape: it shows how small these have to be for the better regressor to score lower.
    ``limbs`` is the mean length of limbs on true bodies, divided by that of the true regressor's.
    """
    import numpy as np
    import torch

    from mmjrr.body_models import free_body
    from mmjrr.cli.demo import ESTIMATORS
    from mmjrr.datasets.synthetic.truth import SyntheticTruth
    from mmjrr.io import read_npz
    from mmjrr.joints import H36M_JOINTS_MMPOSE
    from mmjrr.regressors import JointRegressor

    truth = SyntheticTruth(data, free_body())
    regressors = {
        'J_std': JointRegressor.load(data / 'regressors' / 'J_std.npy'),
        'J_spin': JointRegressor.load(work_dir / 'J_spin.npy'),
        'J_opt': JointRegressor.load(work_dir / 'J_opt.npy'),
        'truth': truth.regressor,
    }
    regressors = {name: r.reorder(H36M_JOINTS_MMPOSE) for name, r in regressors.items()}
    annotation = read_npz(data / 'annotation_body3d' / 'fps10' / 'h36m_test.npz')
    true_bodies = truth.parameters('test')
    assert annotation['imgname'].tolist() == true_bodies['imgname'].tolist()

    def joints(fits: dict[str, Any]) -> dict[str, Any]:
        fits = dict(fits, transl=np.zeros((len(fits['pose']), 3), dtype=np.float32))
        parts: dict[str, list[Any]] = {name: [] for name in regressors}
        for vertices in truth.vertices(fits):
            for name, regressor in regressors.items():
                j = regressor(vertices).double()
                parts[name].append(1000 * (j - j[:, :1]))
        return {name: torch.cat(part).numpy() for name, part in parts.items()}

    labels = 1000 * (annotation['S'][..., :3] - annotation['S'][:, :1, :3])

    def mpjpe(found: Any) -> float:
        return float(np.linalg.norm(found - labels, axis=-1).mean())

    def rms(values: Any) -> float:
        return float(np.sqrt(np.square(values).sum(-1).mean()))

    on_true = joints(true_bodies)
    table: dict[str, Any] = {}
    for title, estimator in ESTIMATORS.items():
        fits = read_npz(data / 'fits' / f'{estimator}_like_test.npz')
        assert fits['imgname'].tolist() == annotation['imgname'].tolist()
        found = joints(fits)
        wrong_bodies = found['truth'] - labels
        partly = {
            fraction: joints(_partly_wrong(true_bodies, fits, fraction))
            for fraction in (0.25, 0.5, 0.75)
        }
        rows: dict[str, Any] = {}
        for name, of_regressor in found.items():
            part = of_regressor - found['truth']
            cosine = (part * wrong_bodies).sum() / max(
                float(np.linalg.norm(part) * np.linalg.norm(wrong_bodies)), 1e-9
            )
            rows[name] = dict(
                mpjpe=mpjpe(of_regressor),
                rms=rms(of_regressor - labels),
                regressor_rms=rms(part),
                bodies_rms=rms(wrong_bodies),
                correlation=float(cosine),
                fractions={str(part): mpjpe(j[name]) for part, j in partly.items()},
            )
        table[title] = rows
    limbs = [
        (H36M_JOINTS_MMPOSE.index(f'{side}_{a}'), H36M_JOINTS_MMPOSE.index(f'{side}_{b}'))
        for side in ('left', 'right')
        for a, b in (
            ('hip', 'knee'), ('knee', 'ankle'), ('shoulder', 'elbow'), ('elbow', 'wrist')
        )
    ]  # fmt: skip
    lengths = {
        name: np.mean([np.linalg.norm(j[:, a] - j[:, b], axis=-1).mean() for a, b in limbs])
        for name, j in on_true.items()
    }
    table['true bodies'] = {
        name: dict(mpjpe=mpjpe(j), limbs=float(lengths[name] / lengths['truth']))
        for name, j in on_true.items()
    }
    return table


def _partly_wrong(
    true: Mapping[str, Any], fits: Mapping[str, Any], fraction: float
) -> dict[str, Any]:
    """Return bodies with a part of the fits' errors: rotations on the shortest way, and shapes."""
    from scipy.spatial.transform import Rotation

    start, end = (Rotation.from_rotvec(b['pose'].reshape(-1, 3)) for b in (true, fits))
    pose = start * Rotation.from_rotvec(fraction * (start.inv() * end).as_rotvec())
    return dict(
        pose=pose.as_rotvec().reshape(-1, 72),
        betas=(1 - fraction) * true['betas'] + fraction * fits['betas'],
    )


if __name__ == '__main__':
    sys.exit(main())
