"""Measure the memory of an evaluation, and of an export, against the number of frames.

    python tools/benchmarks/memory.py [--parameters 10000 100000 1000000] [--vertices 2000 20000]
                                      [--refined 10000 100000]

Each evaluation runs in a process of its own, under three regressors and protocol 'paper', with all
breakdowns. Parameters are in an npz as ``numpy.savez`` writes it; meshes of 6890 vertices in an npz
that is written piece by piece. Refined fits are in the shards of a run, 256 frames each, which are
merged and exported in SPIN's layout. The peak of memory counts the pages of mapped files as well.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
from common import Record, arguments, parse, peak_memory, positive, synthetic_data
from evaluation import evaluate, repeated_frames, three_regressors

from mmjrr.body_models import FREE_BODY_FILE
from mmjrr.engine.pseudo_gt_export import export_fits, write_summary
from mmjrr.io import atomic_write, read_npz
from mmjrr.jobs import ShardFolder
from mmjrr.refinement import PseudoGTStore
from mmjrr.refinement.energy import TERMS
from mmjrr.refinement.left_out import split_left_out, with_left_out
from mmjrr.refinement.regressor_fit import PARAMETERS

#: Digest of a run, by which its shards are known.
RUN = '0' * 64
#: Frames of a shard of refined fits.
FRAMES_OF_SHARD = 256
#: Megabytes that 10^6 frames of parameters, and any number of meshes or refined fits, may take.
LIMIT = 1024


def main() -> None:
    """Run the benchmark and write its record."""
    parser = arguments(__doc__)
    parser.add_argument('--parameters', type=positive, nargs='*', default=[10_000, 100_000])
    parser.add_argument('--vertices', type=positive, nargs='*', default=[2_000, 8_000])
    parser.add_argument('--refined', type=positive, nargs='*', default=[10_000, 100_000])
    parser.add_argument('--exported', type=Path, help=argparse.SUPPRESS)
    parser.add_argument('--alone', nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parse(parser)
    if args.alone:
        print(json.dumps(evaluate_alone(args, *args.alone)))
        return
    if args.exported:
        print(json.dumps(export_alone(args.exported)))
        return
    record = Record(
        'memory', 'Memory of an evaluation',
        vars(args) | {'out': '', 'alone': None, 'exported': None},
    )  # fmt: skip
    data = synthetic_data(args.out, args.seed)
    rows = []
    peaks: dict[str, dict[int, float]] = {}
    for kind, counts in (('parameters', args.parameters), ('vertices', args.vertices)):
        for count in sorted(counts):
            annotation, predictions = repeated_frames(data, args.out / 'memory', count)
            if kind == 'vertices':
                predictions = meshes_of(predictions, count)
            size = predictions.stat().st_size / 1e9
            measured = measure(args, '--alone', str(annotation), str(predictions))
            peaks.setdefault(kind, {})[count] = measured['megabytes']
            rows.append([
                kind, f'{count:,}', f'{size:.2f} GB', f'{measured["imported"]:.0f} MB',
                f'{measured["megabytes"]:.0f} MB', f'{measured["seconds"]:.0f} s',
            ])  # fmt: skip
            for path in (annotation, predictions):
                path.unlink()
    for count in sorted(args.refined):
        shards = shards_of(args.out / 'refined', count)
        size = sum(path.stat().st_size for path in shards.rglob('*.npz')) / 1e9
        measured = measure(args, '--exported', str(shards))
        peaks.setdefault('refined fits', {})[count] = measured['megabytes']
        rows.append([
            'refined fits', f'{count:,}', f'{size:.2f} GB', f'{measured["imported"]:.0f} MB',
            f'{measured["megabytes"]:.0f} MB', f'{measured["seconds"]:.0f} s',
        ])  # fmt: skip
        shutil.rmtree(shards)
    header = ['input', 'frames', 'file', 'after the imports', 'peak', 'time']
    record.table(header, rows)
    for kind, megabytes in peaks.items():
        counts = sorted(megabytes)
        if len(counts) > 1:
            slope = (megabytes[counts[-1]] - megabytes[counts[0]]) / (counts[-1] - counts[0]) * 1e6
            record.note(f'{kind}: {slope:.0f} bytes per frame between {counts[0]:,} and '
                        f'{counts[-1]:,} frames.')  # fmt: skip
        most = megabytes[counts[-1]]
        record.target(
            f'memory at {counts[-1]:,} frames of {kind}', f'<= {LIMIT} MB', f'{most:.0f} MB',
            most <= LIMIT,
        )  # fmt: skip
    record.write(args.out)


def measure(args: argparse.Namespace, *task: str) -> dict[str, float]:
    """Evaluate or export in a process of its own; return its seconds and megabytes."""
    command = [
        sys.executable, __file__, *task,
        '--out', str(args.out), '--seed', str(args.seed), '--threads', str(args.threads),
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def evaluate_alone(
    args: argparse.Namespace, annotation: Path, predictions: Path
) -> dict[str, float]:
    """Evaluate predictions; return seconds and the peak memory in megabytes."""
    regressors = three_regressors(args.out / 'data', args.seed)
    imported = peak_memory()
    start = time.perf_counter()
    evaluate(annotation, predictions, regressors)
    return {
        'seconds': time.perf_counter() - start,
        'imported': imported,
        'megabytes': peak_memory(),
    }


def shards_of(folder: Path, count: int) -> Path:
    """Write the shards of a run of refinement with random fits."""
    store = PseudoGTStore(ShardFolder(folder, RUN, '.npz', 'batch'))
    rng = np.random.default_rng(0)
    shapes = dict(
        global_orient=(3,), body_pose=(69,), betas=(10,), transl=(3,), keypoints_3d=(17, 3),
        keypoints_3d_weight=(17,), keypoints_2d=(17, 2), box=(4,), iou=(), init_iou=(),
    )  # fmt: skip
    shapes |= {f'init_{name}': shapes[name] for name in PARAMETERS}
    for term in TERMS:
        shapes |= {f'energy_{term}': (), f'init_energy_{term}': ()}
    for number, batch in batches_of_run(count).items():
        arrays = {
            name: rng.uniform(1, 2, (len(batch), *shape)).astype(np.float32)
            for name, shape in shapes.items()
        }
        arrays['box'][:, 2:] += arrays['box'][:, :2]
        arrays['sample_idx'] = np.array(batch)
        arrays['imgname'] = np.array([
            f'S1/S1_Directions_1.54138969/S1_Directions_1.54138969_{index:06d}.jpg'
            for index in batch
        ])  # fmt: skip
        store.put(number[0], with_left_out(arrays, arrays, {}))
    (folder / 'count').write_text(str(count))
    return folder


def batches_of_run(count: int) -> dict[tuple[int, int], range]:
    """Return the samples of each batch of a run, by the batch's number and process."""
    starts = range(0, count, FRAMES_OF_SHARD)
    return {
        (number, 0): range(start, min(start + FRAMES_OF_SHARD, count))
        for number, start in enumerate(starts)
    }


def export_alone(folder: Path) -> dict[str, float]:
    """Merge shards and export them, as the end of a run does."""
    count = int((folder / 'count').read_text())
    store = PseudoGTStore(ShardFolder(folder, RUN, '.npz', 'batch'))
    imported = peak_memory()
    start = time.perf_counter()
    arrays, left_out = split_left_out(store.load(batches_of_run(count)))
    export_fits(folder / 'pseudo_gt.npz', arrays, {})
    write_summary(
        folder / 'refinement.json', arrays, frames_expected=count, frames_in_dataset=count,
        term_weights=None, left_out=left_out,
    )  # fmt: skip
    return {
        'seconds': time.perf_counter() - start,
        'imported': imported,
        'megabytes': peak_memory(),
    }


def meshes_of(fits: Path, count: int) -> Path:
    """Write meshes for the image names of a file of fits: the template, moved and scaled."""
    template = read_npz(FREE_BODY_FILE)['v_template'].astype(np.float32)
    rng = np.random.default_rng(0)
    path = fits.with_name(f'{count}_vertices.npz')
    names = read_npz(fits)['imgname']
    with (
        atomic_write(path) as temporary,
        zipfile.ZipFile(temporary, 'w', zipfile.ZIP_STORED) as archive,
    ):
        with archive.open('imgname.npy', 'w') as member:
            np.lib.format.write_array(member, names)
        with archive.open('vertices.npy', 'w', force_zip64=True) as member:
            header = {'descr': '<f4', 'fortran_order': False, 'shape': (count, *template.shape)}
            np.lib.format.write_array_header_1_0(member, header)
            for start in range(0, count, 256):
                sizes = rng.uniform(0.9, 1.1, (min(256, count - start), 1, 1))
                member.write((sizes * template).astype(np.float32).tobytes())
    fits.unlink()
    return path


if __name__ == '__main__':
    main()
