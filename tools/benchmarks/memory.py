"""Measure the memory of an evaluation against its number of frames.

    python tools/benchmarks/memory.py [--parameters 10000 100000 1000000] [--vertices 2000 20000]

Each evaluation runs in a process of its own, under three regressors and protocol 'paper', with all
breakdowns. Parameters are in an npz as ``numpy.savez`` writes it; meshes of 6890 vertices in an npz
that is written piece by piece. The peak of memory counts the pages of mapped files as well.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
from common import Record, arguments, parse, peak_memory, positive, synthetic_data
from evaluation import evaluate, repeated_frames, three_regressors

from mmjrr.body_models import FREE_BODY_FILE
from mmjrr.io import atomic_write, read_npz

#: Megabytes that 10^6 frames of parameters, and any number of meshes, may take.
LIMIT = 1024


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument('--parameters', type=positive, nargs='*', default=[10_000, 100_000])
    parser.add_argument('--vertices', type=positive, nargs='*', default=[2_000, 8_000])
    parser.add_argument('--alone', nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parse(parser)
    if args.alone:
        print(json.dumps(evaluate_alone(args, *args.alone)))
        return
    record = Record('memory', 'Memory of an evaluation', vars(args) | {'out': '', 'alone': None})
    data = synthetic_data(args.out, args.seed)
    rows = []
    peaks: dict[str, dict[int, float]] = {}
    for kind, counts in (('parameters', args.parameters), ('vertices', args.vertices)):
        for count in sorted(counts):
            annotation, predictions = repeated_frames(data, args.out / 'memory', count)
            if kind == 'vertices':
                predictions = meshes_of(predictions, count)
            size = predictions.stat().st_size / 1e9
            found = measure(args, annotation, predictions)
            peaks.setdefault(kind, {})[count] = found['megabytes']
            rows.append([
                kind, f'{count:,}', f'{size:.2f} GB', f'{found["imported"]:.0f} MB',
                f'{found["megabytes"]:.0f} MB', f'{found["seconds"]:.0f} s',
            ])  # fmt: skip
            for path in (annotation, predictions):
                path.unlink()
    header = ['predictions', 'frames', 'file', 'after the imports', 'peak', 'time']
    record.table(header, rows)
    for kind, found in peaks.items():
        counts = sorted(found)
        if len(counts) > 1:
            slope = (found[counts[-1]] - found[counts[0]]) / (counts[-1] - counts[0]) * 1e6
            record.note(f'{kind}: {slope:.0f} bytes per frame between {counts[0]:,} and '
                        f'{counts[-1]:,} frames.')  # fmt: skip
        most = found[counts[-1]]
        record.target(
            f'memory at {counts[-1]:,} frames of {kind}', f'<= {LIMIT} MB', f'{most:.0f} MB',
            most <= LIMIT,
        )  # fmt: skip
    record.write(args.out)


def measure(args: argparse.Namespace, annotation: Path, predictions: Path) -> dict[str, float]:
    """Evaluate in a process of its own; return its seconds and megabytes."""
    command = [
        sys.executable, __file__, '--alone', str(annotation), str(predictions),
        '--out', str(args.out), '--seed', str(args.seed), '--threads', str(args.threads),
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def evaluate_alone(
    args: argparse.Namespace, annotation: Path, predictions: Path
) -> dict[str, float]:
    regressors = three_regressors(args.out / 'data', args.seed)
    imported = peak_memory()
    start = time.perf_counter()
    evaluate(annotation, predictions, regressors)
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
