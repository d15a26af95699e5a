"""Learn a joint regressor from images, masks and initial fits of a synthetic Human3.6M.

    python tools/demo.py --out work_dirs/demo
    python tools/demo.py --masks maskrcnn --out work_dirs/demo_maskrcnn

The demo generates the synthetic H36M, fits the regressor J_spin to the initial fits, refines the
fits of four synchronized views in rounds, fits J_opt to the refined ones, and evaluates three
simulated estimators on S9 and S11 under J_std, J_spin and J_opt. With ``--masks maskrcnn`` it first
trains a small Mask R-CNN on the set's images and refines against its masks instead of the exact
ones. With ``--config contour_100it_synthetic`` it refines each image by itself, as the paper does.

It runs ``configs/refinement/contour-4view_5x80it_synthetic.py``,
``configs/evaluation/stored-*-like_synthetic.py`` and the commands of ``docs/masks.md``. A run on
Human3.6M differs from it only in the data.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmjrr.cli.options import EXPECTED, OptionError, parse, run_command
from mmjrr.cli.shipped import ROOT, config_file, no_such_config

if TYPE_CHECKING:
    from mmengine.config import Config

ESTIMATORS = {'SPIN-like': 'spin', 'VIBE-like': 'vibe', 'MEVA-like': 'meva'}
REGRESSORS = ('J_std', 'J_spin', 'J_opt')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/demo'),
        help='folder to write (default: %(default)s)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of data and refinement (default: %(default)s)'
    )
    parser.add_argument(
        '--frames-per-subject',
        type=int,
        default=16,
        help='moments per subject, each seen by 4 cameras (default: %(default)s)',
    )
    parser.add_argument(
        '--workers', type=int, default=2, help='processes that draw images (default: %(default)s)'
    )
    parser.add_argument(
        '--config',
        default=str(ROOT / 'configs/refinement/contour-4view_5x80it_synthetic.py'),
        type=config_file,
        help='refinement config, such as one of the ablations (default: '
        'configs/refinement/contour-4view_5x80it_synthetic.py)',
    )
    parser.add_argument(
        '--cameras',
        choices=['synchronous', 'in-turns'],
        help='whether the four cameras of the set show the same moments, or take turns, which '
        'gives four times as many poses for the same number of images (default: what the '
        'refinement config needs)',
    )
    parser.add_argument(
        '--masks',
        choices=['rendered', 'maskrcnn'],
        default='rendered',
        help='the exact masks of the rendered people, or those of a Mask R-CNN that the demo '
        'trains first, which takes longer (needs requirements/segmentation.txt) '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--masks-config',
        default=str(ROOT / 'configs/segmentation/mask-rcnn_small_synthetic.py'),
        type=config_file,
        help='config that trains the Mask R-CNN (default: '
        'configs/segmentation/mask-rcnn_small_synthetic.py)',
    )

    parser.add_argument(
        '--report',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='write report.html: tables, charts and frames for a browser (default: yes)',
    )


def _is_synchronous(args: argparse.Namespace) -> bool:
    """Return whether the cameras show the same moments.

    Raises:
        OptionError: The refinement config needs synchronous cameras, and ``--cameras`` has others.
    """
    from mmengine.config import Config

    hooks = Config.fromfile(args.config).get('custom_hooks', [])
    shares_views = any(
        ((hook.get('refiner') or {}).get('share') or {}).get('pose') == 'moment' for hook in hooks
    )
    if shares_views and args.cameras == 'in-turns':
        raise OptionError(
            f'--cameras in-turns: found with --config {args.config}, whose views share a pose; '
            'expected synchronous'
        )
    return shares_views or args.cameras == 'synchronous'


def _check_options(args: argparse.Namespace) -> None:
    """Refuse options that would fail only after the data set is made."""
    for option, count in (
        ('--frames-per-subject', args.frames_per_subject),
        ('--workers', args.workers),
    ):
        if count < 1:
            raise OptionError(f'{option} {count}: expected at least 1')
    if not 0 <= args.seed < 2**32:
        raise OptionError(f'--seed {args.seed}: expected 0 to {2**32 - 1}')
    for option, path in (('--config', args.config), ('--masks-config', args.masks_config)):
        if not Path(path).is_file():
            raise OptionError(f'{option} {no_such_config(path)}')
    if args.masks == 'maskrcnn':
        from mmengine.config import Config

        from mmjrr.segmentation.mmcv_ops import INSTALL

        missing = [name for name in ('torchvision', 'mmcv', 'mmdet') if find_spec(name) is None]
        if missing:
            raise OptionError(f'--masks maskrcnn: {", ".join(missing)} not installed: {INSTALL}')
        model = Config.fromfile(args.masks_config).get('model', {}).get('type')
        if model != 'MaskRCNN':
            raise OptionError(
                f'--masks-config {args.masks_config}: its model is {model}, expected a MaskRCNN'
            )


def check_folders(out: Path, names: Sequence[str]) -> None:
    """Refuse an output folder in which files of others would have to be removed.

    Args:
        out: The output folder.
        names: Folders in it that belong to the demo.

    Raises:
        OptionError: ``out`` is a file.
        DataError: A folder holds files that no demo has made.
    """
    from mmjrr.jobs import Identity, Job

    if out.exists() and not out.is_dir():
        raise OptionError(f'--out {out}: found a file, expected a folder')
    for name in names:
        Job(out, name, Identity({}), '.json').check_folder()


def run(args: argparse.Namespace) -> None:
    """Run the demo."""
    from mmengine.logging import MMLogger

    from mmjrr.cli.console import write_plainly
    from mmjrr.datasets.synthetic import Settings, generate
    from mmjrr.io import read_npz, versions, write_json
    from mmjrr.refinement.allocator import keep_freed_memory
    from mmjrr.rendering.contour.numba_backend import LOOPS

    _check_options(args)
    synchronous = _is_synchronous(args)
    check_folders(args.out, ['refinement', *(['segmentation'] if args.masks == 'maskrcnn' else [])])
    keep_freed_memory()
    write_plainly(MMLogger.get_current_instance())
    print(
        f'Learning a joint regressor from {20 * args.frames_per_subject} images of synthetic '
        'people, whose truth is known.\n'
        f'Everything goes to {args.out}, logs to {args.out / "refinement"}.\n'
        'An interrupted demo continues when it is started again.'
    )
    if not LOOPS.is_compiled():
        print('Loops are compiled when they are first used: half a minute, once on this machine.')
    seconds: dict[str, float] = {}
    data, work_dir = args.out / 'data', args.out / 'refinement'

    with stage('Synthetic Human3.6M: images of people whose bodies are known', 'data', seconds):
        settings = Settings(
            seed=args.seed,
            frames_per_subject=args.frames_per_subject,
            synchronous=synchronous,
        )
        generate(data, settings, args.workers)
    mask_file: str | None = None
    agreement: dict[str, Any] = {}
    if args.masks == 'maskrcnn':
        with stage('Person masks: a Mask R-CNN is trained and finds them', 'masks', seconds):
            mask_file, agreement = make_masks(args, data, args.out / 'segmentation')
    with stage('Refinement: bodies are made to agree with labels and masks', 'refinement', seconds):
        refine(args, data, work_dir, mask_file)
    with stage('Evaluation on S9 and S11, unseen by the regressor', 'evaluation', seconds):
        table, test_frames = evaluate(data, work_dir, args.seed)
    with stage('Comparison with the true bodies and the true regressor', 'truth', seconds):
        pseudo_gt, regressor_error, ablation = compare_with_truth(data, work_dir)
        rounds = compare_rounds(data, work_dir)
    with stage('Labels: do they mark the same points of all subjects?', 'labels', seconds):
        print(compare_labels(work_dir, args.out / 'label_consistency.json'))

    summary = {
        'table': table,
        'pseudo_gt': pseudo_gt,
        'masks': {'made_by': args.masks, **agreement},
        'regressor_error_mm': regressor_error,
        'ablation': ablation,
        'rounds': rounds,
        'seed': args.seed,
        'cameras': 'synchronous' if synchronous else 'in turns',
        'frames': len(read_npz(work_dir / 'pseudo_gt.npz')['imgname']),
        'test_frames': test_frames,
        'seconds': {name: round(value, 1) for name, value in seconds.items()},
        'config': Path(args.config).name,
        'versions': versions(),
    }
    write_json(args.out / 'summary.json', summary)
    overlays = collect_overlays(work_dir, args.out / 'overlays')
    if args.report:
        write_page(args.out)
    report(summary, args.out, overlays)


def write_page(out: Path) -> None:
    """Write ``report.html``: tables, charts and frames for a browser."""
    from mmjrr.visualization.report import report_work_dir, write_report

    print('\nWriting the report ...', flush=True)
    write_report(report_work_dir(out), out / 'report.html')


class stage:
    """Context manager that prints the title of a stage and records its duration.

    Args:
        title: Title to print.
        key: Name of the stage in ``seconds``.
        seconds: Duration of each stage, written on exit.
    """

    def __init__(self, title: str, key: str, seconds: dict[str, float]) -> None:
        self.title, self.key, self.seconds = title, key, seconds

    def __enter__(self) -> None:
        print(f'\n== {self.title}', flush=True)
        self.start = time.perf_counter()

    def __exit__(self, *error: Any) -> None:
        self.seconds[self.key] = time.perf_counter() - self.start


def make_masks(args: argparse.Namespace, data: Path, folder: Path) -> tuple[str, dict[str, Any]]:
    """Train a Mask R-CNN and generate masks of both splits with it.

    Results of an earlier run with the same settings are reused.

    Returns:
        The file of masks for refinement, and the agreement of the masks with the true ones.
    """
    from mmjrr.io import sha256
    from mmjrr.jobs import Identity, Job

    settings = {
        'seed': args.seed,
        'config': sha256(args.masks_config),
        'images': sha256(data / 'synthetic.json'),
    }
    job = Job(folder.parent, folder.name, Identity(settings), '.json')
    with job.begun() as started:
        return _make_masks(args, data, folder, started)


def _make_masks(
    args: argparse.Namespace, data: Path, folder: Path, started: bool
) -> tuple[str, dict[str, Any]]:
    from mmjrr.datasets.masks import Masks
    from mmjrr.segmentation import compare_masks

    root = data.resolve()
    _run_tool('dataset_converters/masks_to_coco.py', root)
    weights = folder / 'weights.pth'
    if not (started and weights.is_file()):
        _run_tool(
            'train.py', args.masks_config, '--work-dir', folder,
            *(['--resume'] if started else []),
            '--cfg-options',
            f'train_dataloader.dataset.data_root={root}/',
            f'test_dataloader.dataset.data_root={root}/',
            f'test_evaluator.ann_file={root}/annotations/person_test.json',
            f'randomness.seed={args.seed}',
        )  # fmt: skip
    agreements: dict[str, Any] = {}
    for split in ('train', 'test'):
        out, truth = folder / f'masks_{split}.json', data / 'masks' / f'h36m_{split}.json'
        _run_tool(
            'generate_masks.py',
            ROOT / 'configs/segmentation/mask-rcnn_small_synthetic_masks.py', weights,
            '--out', out, '--work-dir', folder / split, '--compare', truth,
            '--cfg-options',
            f'model.config={Path(args.masks_config).resolve()}',
            f'test_dataloader.dataset.data_root={root}/',
            f'test_dataloader.dataset.ann_file=annotation_body3d/fps10/h36m_{split}.npz',
        )  # fmt: skip
        agreement = compare_masks(Masks(out), Masks(truth))
        agreements[f'iou_{split}'] = round(agreement['iou'], 4)
        agreements[f'missing_{split}'] = agreement['missing']
    return str((folder / 'masks_train.json').resolve()), agreements


def _run_tool(script: str, *arguments: Any) -> None:
    """Run a command of ``tools`` in a process of its own; exit with its status if it fails."""
    command = [sys.executable, str(ROOT / 'tools' / script), *map(str, arguments)]
    print('$ ' + _shell('python', f'tools/{script}', *command[2:]), flush=True)
    code = subprocess.run(command).returncode
    if code:
        sys.exit(code)


def refine(args: argparse.Namespace, data: Path, work_dir: Path, mask_file: str | None) -> None:
    """Refine the fits, as :func:`run_refinement` does."""
    from mmengine.config import Config

    from mmjrr.io import sha256

    cfg = Config.fromfile(args.config)
    cfg.work_dir = str(work_dir)
    cfg.train_dataloader.dataset.data_root = str(data)
    if mask_file is not None:
        cfg.train_dataloader.dataset.mask_file = mask_file
    cfg.randomness.seed = args.seed
    cfg.default_hooks.logger.interval = 5
    settings = {
        'config': cfg.pretty_text,
        'data': sha256(data / 'synthetic.json'),
        'masks': None if mask_file is None else sha256(mask_file),
    }
    run_refinement(cfg, settings)


def run_refinement(cfg: Config, settings: Mapping[str, Any]) -> None:
    """Run a refinement, continue it, or take the finished run with the same settings.

    What a demo made there with other settings is replaced.

    Args:
        cfg: The config, with its work directory.
        settings: Everything that changes the result.

    Raises:
        DataError: The work directory holds files that no demo has made.
    """
    from mmjrr.cli.console import build_runner
    from mmjrr.jobs import Identity, IdentityError, Job

    work_dir = Path(cfg.work_dir)

    def train(resume: bool) -> None:
        if resume:
            print('Continuing the unfinished refinement.', flush=True)
        cfg.resume = resume
        cfg.experiment_name = cfg.visualizer.name = f'demo_{work_dir.name}_{time.time_ns()}'
        build_runner(cfg).train()

    job = Job(work_dir.parent, work_dir.name, Identity(settings), '.json')
    try:
        with job.begun() as started:
            if started and (work_dir / 'refinement.json').is_file():
                print('The refinement is finished already.', flush=True)
            else:
                train(resume=(work_dir / 'pseudo_gt').is_dir())
    except IdentityError:  # files that `settings` does not name have changed
        print('The unfinished refinement has other settings; starting again.', flush=True)
        job.remove()
        with job.begun():
            train(resume=False)


def evaluate(data: Path, work_dir: Path, seed: int) -> tuple[dict[str, Any], int]:
    """Return MPJPE and PA-MPJPE in mm by estimator and regressor, and the number of frames."""
    from mmengine.config import Config

    from mmjrr.cli.console import build_runner

    table: dict[str, Any] = {}
    frames = 0
    for title, name in ESTIMATORS.items():
        cfg = Config.fromfile(str(ROOT / f'configs/evaluation/stored-{name}-like_synthetic.py'))
        cfg.work_dir = str(work_dir.parent / 'evaluation' / name)
        cfg.test_dataloader.dataset.data_root = str(data)
        cfg.model.predictions = str(data / 'fits' / f'{name}_like_test.npz')
        cfg.test_evaluator.regressors = {
            'J_std': str(data / 'regressors' / 'J_std.npy'),
            'J_spin': str(work_dir / 'J_spin.npy'),
            'J_opt': str(work_dir / 'J_opt.npy'),
        }
        cfg.test_evaluator.by = []
        cfg.randomness.seed = seed
        cfg.log_level = 'WARNING'
        cfg.experiment_name = cfg.visualizer.name = f'demo_{name}_{time.time_ns()}'
        runner = build_runner(cfg)
        metrics = runner.test()
        frames = len(runner.test_dataloader.dataset)
        table[title] = {
            regressor: {
                'mpjpe': round(metrics[f'{regressor}/paper/MPJPE'], 4),
                'pa_mpjpe': round(metrics[f'{regressor}/paper/PA-MPJPE'], 4),
            }
            for regressor in REGRESSORS
        }
    return table, frames


def compare_with_truth(
    data: Path, work_dir: Path
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Measure how far fits and regressors are from the true bodies and the true regressor.

    Returns:
        The errors of the fits before and after refinement, the errors of the regressors in mm,
        and the errors of the fits that the ablations report.
    """
    from mmjrr.body_models import free_body
    from mmjrr.datasets.synthetic.truth import SyntheticTruth
    from mmjrr.io import read_json, read_npz
    from mmjrr.regressors import JointRegressor

    truth = SyntheticTruth(data, free_body())
    init = read_npz(data / 'fits' / 'spin_like_train.npz')
    refined = read_npz(work_dir / 'pseudo_gt.npz')
    refinement = read_json(work_dir / 'refinement.json')
    pseudo_gt = {
        'pve_init_mm': round(truth.vertex_error_mm(init), 4),
        'pve_opt_mm': round(truth.vertex_error_mm(refined), 4),
        'iou_init': round(refinement['init_iou'], 4),
        'iou_opt': round(refinement['iou'], 4),
    }
    errors = {
        name: round(truth.regressor_error_mm(JointRegressor.load(path)), 4)
        for name, path in (
            ('J_std', data / 'regressors' / 'J_std.npy'),
            ('J_spin', work_dir / 'J_spin.npy'),
            ('J_opt', work_dir / 'J_opt.npy'),
        )
    }
    errors['floor'] = round(truth.floor_mm(), 4)
    true_pose = truth.parameters('train')['pose'][:, 3:]
    ablation = {
        'feet_pve_init_mm': round(truth.vertex_error_mm(init, part='feet'), 4),
        'feet_pve_opt_mm': round(truth.vertex_error_mm(refined, part='feet'), 4),
        'pose_distance_init_deg': round(truth.pose_distance_deg(init['pose'][:, 3:], true_pose), 4),
        'pose_distance_opt_deg': round(
            truth.pose_distance_deg(refined['pose'][:, 3:], true_pose), 4
        ),
    }
    return pseudo_gt, errors, ablation


def compare_rounds(data: Path, work_dir: Path) -> list[dict[str, float]]:
    """Measure fits and regressor after each round of a calibration; [] without a calibration.

    Returns:
        For each round the vertex error of the fits and the error of the regressor fitted to them,
        in mm, and the overlap with the masks.
    """
    import numpy as np

    from mmjrr.body_models import free_body
    from mmjrr.datasets.synthetic.truth import SyntheticTruth
    from mmjrr.io import read_npz
    from mmjrr.regressors import JointRegressor

    rounds = []
    truth = SyntheticTruth(data, free_body())
    folder = work_dir / 'calibration'
    for number, path in enumerate(sorted(folder.glob('round_*.npz')), start=1):
        fits = read_npz(path)
        fits['pose'] = np.concatenate([fits['global_orient'], fits['body_pose']], axis=1)
        regressor = JointRegressor.load(folder / f'J_round_{number}.npy')
        rounds.append(
            {
                'pve_mm': round(truth.vertex_error_mm(fits), 4),
                'regressor_error_mm': round(truth.regressor_error_mm(regressor), 4),
                'iou': round(float(fits['iou'].mean()), 4),
            }
        )
    return rounds


def compare_labels(work_dir: Path, path: Path) -> str:
    """Compare the places at which subjects are labeled, write the result, return a sentence."""
    from mmjrr.body_models import free_body
    from mmjrr.evaluation.label_consistency import LabeledFits, label_consistency

    fits = LabeledFits(work_dir, free_body())
    result = label_consistency(fits, root=fits.default_root())
    result.save(path)
    return result.sentence()


def collect_overlays(work_dir: Path, folder: Path) -> int:
    """Copy the visualizer's pictures into one folder, in place of earlier ones; count them."""
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in folder.glob('refinement_*.png'):
        earlier.unlink()
    pictures = sorted(work_dir.glob('*/vis_data/vis_image/refinement_*.png'))
    for picture in pictures:
        shutil.copy2(picture, folder / picture.name)
    return len(pictures)


def report(summary: dict[str, Any], out: Path, overlays: int) -> None:
    """Print the table of errors and what it means."""
    print(
        f'\nMPJPE / PA-MPJPE in mm, protocol paper, {summary["test_frames"]} frames of S9 and S11'
    )
    print(f'{"":<12}' + ''.join(f'{name:>16}' for name in REGRESSORS))
    for estimator, row in summary['table'].items():
        cells = [f'{row[r]["mpjpe"]:.1f} / {row[r]["pa_mpjpe"]:.1f}' for r in REGRESSORS]
        print(f'{estimator:<12}' + ''.join(f'{cell:>16}' for cell in cells))
    for estimator, row in summary['table'].items():
        change = row['J_opt']['mpjpe'] - row['J_std']['mpjpe']
        word = 'lower' if change < 0 else 'higher'
        print(
            f'  {estimator}: MPJPE under J_opt is {abs(change):.1f} mm {word} than under J_std, '
            'with the same estimates.'
        )
    fits, errors, masks = (summary[key] for key in ('pseudo_gt', 'regressor_error_mm', 'masks'))
    if 'iou_train' in masks:
        print(
            "\nMask R-CNN's masks: IoU with the exact masks "
            f'{masks["iou_test"]:.3f} on S9 and S11 (not trained on), '
            f'{masks["iou_train"]:.3f} on the training subjects (trained on; used for refinement).'
        )
    print(
        f'\nPseudo ground truth, {summary["frames"]} training frames: vertex error '
        f'{fits["pve_init_mm"]:.1f} -> {fits["pve_opt_mm"]:.1f} mm, IoU with the masks '
        f'{fits["iou_init"]:.3f} -> {fits["iou_opt"]:.3f}.'
    )
    for number, one in enumerate(summary['rounds'], start=1):
        print(
            f'  round {number}: vertex error {one["pve_mm"]:.1f} mm, IoU {one["iou"]:.3f}, error '
            f'of its regressor {one["regressor_error_mm"]:.1f} mm'
        )
    print(
        'Error of the regressors on the true meshes: '
        + ', '.join(f'{name} {errors[name]:.1f} mm' for name in (*REGRESSORS, 'floor'))
        + '\n  (floor: a regressor fitted to the true training meshes; its error is due to label '
        'noise alone).'
    )
    total = sum(summary['seconds'].values())
    stages = ', '.join(f'{name} {value:.0f}' for name, value in summary['seconds'].items())
    print(f'\nTime: {total:.0f} s ({stages})')
    if (out / 'report.html').is_file():
        print(f'  report     {out / "report.html"} (open it in a browser)')
    print(f'  summary    {out / "summary.json"}')
    print(f'  overlays   {out / "overlays"} ({overlays} pictures)')
    regressor = out / 'refinement' / 'J_opt.npy'
    print(f'  regressor  {regressor}')
    command, data = _command(), out / 'data'
    print(
        '\nNext:\n'
        f'  {_shell(command, "evaluate", data / "fits/spin_like_test.npz")} \\\n'
        f'      {_shell("--annotations", data, "--regressor", f"J_opt={regressor}")}\n'
        '      # score a file of results with the new regressor; take your own for the first one\n'
        f'  {_shell(command, "demo", "--config", "contour_100it_synthetic")} '
        f'{_shell("--out", out.parent / f"{out.name}_paper")}\n'
        "      # the paper's setting: each image by itself\n"
        f'  {_shell(command, "check", "contour-4view_5x80it_h36m")}\n'
        '      # what the same run on Human3.6M needs'
    )


def _shell(*words: object) -> str:
    """Return words of a command line, quoted where a shell needs it."""
    return shlex.join(map(str, words))


def _command() -> str:
    """Return the command ``mmjrr`` of this environment, as a user types it."""
    path = Path(sys.executable).with_name('mmjrr')
    if shutil.which('mmjrr') == str(path) or not path.is_file():
        return 'mmjrr'
    return os.path.relpath(path)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    args = parse(add_arguments, __doc__, argv, prog)
    how = f'The same command continues where it stopped; delete {args.out} to start again.'
    return run_command(run, args, (*EXPECTED, OSError), f'Interrupted. {how}')


if __name__ == '__main__':
    sys.exit(main())
