r"""Write the bodies of any results file as meshes: GLB, PLY or OBJ.

    mmjrr export-meshes results.npz --body-model data/smpl --out meshes
    mmjrr export-meshes work_dirs/demo/refinement --images '*Walking*' --format ply --out meshes

SOURCE is a results file of any model, or the work directory of a refinement, whose refined fits are
written. docs/sharing.md says what of such files may be shared.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmjrr.cli.evaluation_options import add_file_options, file_options
from mmjrr.cli.options import OptionError, add_body_model, parse, run_command

if TYPE_CHECKING:
    from mmjrr.body_models import SMPL
    from mmjrr.datasets.predictions import Predictions

# Copied from mmjrr.visualization.mesh_files, which imports NumPy.
FORMATS = ('glb', 'ply', 'obj')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument(
        'source', type=Path, metavar='SOURCE', help='results file, or work directory'
    )
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument(
        '--format', default='glb', choices=FORMATS, help='format of the files (default: glb)'
    )
    add_body_model(parser, ' (default: the free body if SOURCE names it)')
    parser.add_argument(
        '--images',
        nargs='+',
        metavar='PATTERN',
        help="images whose bodies are written, such as 'S9_Walking*' (default: all)",
    )
    parser.add_argument(
        '--max-meshes',
        type=int,
        default=1000,
        metavar='N',
        help='refuse to write more files than this (default: %(default)s)',
    )
    add_file_options(parser)


def run(args: argparse.Namespace) -> None:
    """Pose the bodies and write their meshes."""
    import numpy as np

    from mmjrr.datasets.units import METERS
    from mmjrr.visualization.mesh_files import file_names, write_mesh
    from mmjrr.visualization.posed_bodies import posed_bodies

    part, body = _read(args)
    names = part.imgname or [f'body_{row:06d}' for row in range(len(part))]
    rows = [row for row, name in enumerate(names) if _wanted(name, args.images)]
    rows = [row for row in rows if part.is_valid()[row]]
    if not rows:
        raise OptionError(
            f'--images {" ".join(args.images or [])}: none of {len(names)} bodies matches; '
            f'they are named like {names[0]!r}'
            if len(names)
            else f'{args.source}: there are no bodies'
        )
    if len(rows) > args.max_meshes:
        raise OptionError(
            f'--max-meshes {args.max_meshes}: {len(rows)} bodies would be written; choose some '
            'with --images, or raise it'
        )
    scale = METERS[args.unit]
    faces = np.asarray(body.faces)
    for name, row in zip(file_names(names[row] for row in rows), rows, strict=True):
        (vertices,) = posed_bodies(part.select(np.array([row])), body, scale, translate=True)
        if len(vertices) <= faces.max():
            raise OptionError(
                f'--body-model: its faces are of {faces.max() + 1} vertices, but the bodies have '
                f'{len(vertices)}'
            )
        write_mesh(vertices, faces, args.out / f'{name}.{args.format}')
    print(f'Wrote {len(rows)} meshes to {args.out}')


def _wanted(name: str, patterns: Sequence[str] | None) -> bool:
    last = name.rsplit('/', 1)[-1]
    return patterns is None or any(
        fnmatch.fnmatchcase(text, pattern) for pattern in patterns for text in (name, last)
    )


def _read(args: argparse.Namespace) -> tuple[Predictions, SMPL]:
    """Return the bodies' parameters or vertices, and the body."""
    from mmjrr.datasets.predictions import read_predictions
    from mmjrr.evaluation.predicted_body import body_of
    from mmjrr.registry import BODY_MODELS
    from mmjrr.visualization.work_dir import body_of_work_dir

    source: Path = args.source
    config: Any = None
    if args.body_model == 'free_body':
        config = dict(type='FreeBody')
    elif args.body_model is not None:
        config = dict(type='SMPL', model_path=args.body_model)
    if source.is_dir() and (source / 'pseudo_gt').is_dir():
        config = config or body_of_work_dir(source)
        source = source / 'pseudo_gt.npz'
        if not source.is_file():
            raise FileNotFoundError(f'{source}: no such file; has the refinement finished?')
    if config is None:
        raise OptionError(
            '--body-model: found none; triangles and posed vertices come from a body: '
            "a SMPL file or folder, or 'free_body'"
        )
    part = read_predictions(source, **file_options(args))
    if args.num_betas is not None:
        part = part.with_num_betas(args.num_betas)
    fitting: Any = body_of(part, config, args.gender, args.num_betas)
    body: SMPL = BODY_MODELS.build(dict(fitting))
    return part, body


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(run, parse(add_arguments, __doc__, argv, prog))


if __name__ == '__main__':
    sys.exit(main())
