r"""Fit a joint regressor to any meshes and any 3D joints, with its error on held-out people.

    mmjrr fit-regressor meshes.npz --joints mocap.npz --out skeleton.npy --body-model data/smpl
    mmjrr fit-regressor vertices.npz --joints markers.npz --markers all --faces faces.npy \
        --out markers.npy --unit mm --joints-unit mm

The meshes are vertices, or parameters and a body, in any layout that `mmjrr evaluate` reads. The
joints are an array (N, J, 3), or (N, J, 4) with weights, in npz, npy, pickle, JSON or PyTorch; NaN
or weight 0 means missing. Frames are matched by image name if both files have names, otherwise by
order. OUT.npy and OUT.json are a regressor for every command, OUT.report.json holds the errors by
joint, the support and the gap, and OUT.png shows the support on the body.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmjrr.cli.evaluation_options import add_file_options, file_options
from mmjrr.cli.options import add_body_model, parse, run_command

if TYPE_CHECKING:
    from mmjrr.regressors.fitting.cross_validation import RegressorReport

#: Number of frames whose units are checked.
_CHECKED = 64
#: Joints in a plausible unit spread at least and at most this many times as far as the vertices:
#: those of a hand spread little, and none lies far outside the mesh.
_LEAST_SPREAD, _LARGEST_SPREAD = 0.02, 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    from mmjrr.datasets.units import METERS

    parser.add_argument('meshes', help='file, folder or pattern with vertices or parameters')
    parser.add_argument('--joints', required=True, help='file with the 3D joints')
    parser.add_argument('--out', required=True, type=Path, help='regressor to write, .npy')
    parser.add_argument('--joints-field', metavar='PATH', help='path of the joints in their file')
    parser.add_argument(
        '--joint-names',
        nargs='+',
        metavar='NAME',
        help="names of the joints, or a text file with one per line (default: the file's)",
    )
    parser.add_argument('--joints-unit', default='m', choices=METERS, help='unit of the joints')
    parser.add_argument(
        '--person-field', metavar='PATH', help="path of the persons' labels in the joints' file"
    )
    parser.add_argument(
        '--sequence-field', metavar='PATH', help="path of the sequences' labels in the joints' file"
    )
    parser.add_argument(
        '--markers',
        nargs='+',
        default=[],
        metavar='NAME',
        help="joints on the skin, fitted with an offset along the surface normal, or 'all'",
    )
    parser.add_argument(
        '--root',
        default='mean',
        help="removal of translation: 'mean' (the best), 'none' if meshes and joints are in one "
        "frame, or a joint's name (default: %(default)s)",
    )
    add_body_model(parser, ', for parameters')
    parser.add_argument('--body-name', help='name of the mesh, kept with the regressor')
    parser.add_argument(
        '--faces', type=Path, help='.npy, .npz, .pkl, .obj or .ply with the faces, for markers'
    )
    parser.add_argument('--folds', type=int, default=5, help='largest number of folds')
    parser.add_argument('--no-picture', action='store_true', help='write no picture')
    add_file_options(parser)


def run(args: argparse.Namespace) -> None:
    """Fit, print the report and write the files."""
    from mmjrr.datasets.joint_files import read_joints
    from mmjrr.datasets.predictions import read_predictions
    from mmjrr.errors import DataError
    from mmjrr.io import sha256, versions, write_json
    from mmjrr.io.paths import check_suffix
    from mmjrr.regressors.fitting.cross_validation import fit_and_validate
    from mmjrr.regressors.mesh_mapping import read_faces

    check_suffix(args.out, '.npy', option='--out')
    given_faces = None if args.faces is None else read_faces(args.faces)
    names = args.joint_names
    if names and len(names) == 1 and Path(names[0]).is_file():
        names = Path(names[0]).read_text(encoding='utf-8').split()
    frames = read_joints(
        args.joints, args.joints_field, names, args.joints_unit, args.person_field,
        args.sequence_field,
    )  # fmt: skip
    meshes = read_predictions(args.meshes, **file_options(args))
    rows, kept = _matched(meshes, frames)
    if len(kept) < 2:
        raise DataError(f'{args.meshes}: {len(kept)} frames of {args.joints} have a mesh')
    print(f'{len(kept)} of {len(frames)} frames with joints have a mesh', file=sys.stderr)
    vertices, body, template = _vertices(args, meshes.select(rows))
    _check_units(args, vertices, frames.joints[kept])
    faces = None if body is None else body.faces
    if given_faces is not None:
        faces = given_faces
    markers = list(frames.joint_names) if args.markers == ['all'] else args.markers
    groups: dict[str, Sequence[str]] = {
        by: [labels[row] for row in kept]
        for by, labels in (('person', frames.person), ('sequence', frames.sequence))
        if labels is not None
    }
    report = fit_and_validate(
        vertices,
        frames.joints[kept],
        frames.joint_names,
        groups=groups,
        root=None if args.root == 'none' else args.root,
        body_model=args.body_name or (body.name if body is not None else 'unnamed'),
        faces=faces,
        markers=markers,
        max_folds=args.folds,
        provenance={
            'meshes': Path(args.meshes).name,
            'joints': {'file': Path(args.joints).name, 'sha256': sha256(Path(args.joints))},
            'versions': versions(),
        },
        progress=lambda line: print(line, file=sys.stderr),
    )
    no_labels = [f'by {by}: no labels' for by in ('person', 'sequence') if by not in groups]
    print(format_report(report, no_labels))
    saved = report.regressor.save(args.out)
    written = [saved, saved.with_suffix('.report.json')]
    write_json(written[1], report.to_dict())
    if not args.no_picture:
        from mmjrr.visualization.support_figure import draw_support

        picture = saved.with_suffix('.png')
        written.append(draw_support({saved.stem: report.regressor}, template, picture))
    print('Wrote ' + ', '.join(map(str, written)))


def format_report(report: RegressorReport, not_validated: Sequence[str] = ()) -> str:
    """Return the report as a table with a row for each joint.

    Args:
        report: The report.
        not_validated: Further reasons why a kind of cross-validation was left out.
    """
    from mmjrr.evaluation.result import format_table

    offsets = report.regressor.normal_offsets
    header = ['Joint', 'Vertices', 'Missing', 'Fitted', *(f'New {by}' for by in report.held_out)]
    header += [] if offsets is None else ['Offset']
    sizes = report.fit.support_sizes
    rows = []
    for index, name in enumerate(report.regressor.joint_names):
        errors = [report.joint_error, *(held.joint_error for held in report.held_out.values())]
        row = [name, str(sizes[name]), str(report.missing[name])]
        row += [f'{1000 * values[index]:.1f}' for values in errors]
        rows.append(row + ([] if offsets is None else [f'{1000 * float(offsets[index]):.1f}']))
    overall = [report.error, *(held.error for held in report.held_out.values())]
    total = ['all', str(sum(sizes.values())), str(sum(report.missing.values()))]
    total += [f'{1000 * value:.1f}' for value in overall]
    rows.append(total + ([] if offsets is None else ['']))
    lines = [
        format_table(header, rows, 'Mean distance of each joint, mm'),
        '',
        f'{report.fit.n_frames} frames, {report.fit.n_dropped} dropped; relative gap '
        f'{report.fit.dual_gap:.1e}' + ('' if report.fit.converged else ', above the tolerance'),
    ]
    if report.held_out and max(held.error for held in report.held_out.values()) < 1e-3:
        lines.append(
            'The joints are a linear function of the meshes, also of those held out: they were '
            'probably regressed from them, not measured. Scores against such joints flatter this '
            'regressor'
        )
    for held in report.held_out.values():
        lines.append(f'New {held.by}: {len(held.folds)} fits, each tested on what it left out')
    lines += [f'Not cross-validated {why}' for why in (*report.not_validated, *not_validated)]
    return '\n'.join(lines)


def _matched(meshes: Any, frames: Any) -> tuple[Any, Any]:
    """Return the rows of the meshes and of the frames that belong together."""
    import numpy as np

    from mmjrr.datasets.predictions import match_bodies
    from mmjrr.errors import DataError

    if meshes.imgname is not None and frames.imgname is not None:
        rows = match_bodies(meshes, frames.imgname).rows
        return rows[rows >= 0], np.flatnonzero(rows >= 0)
    if len(meshes) != len(frames):
        raise DataError(
            f'{meshes.name}: found {len(meshes)} meshes for {len(frames)} frames of joints, and no '
            'image names in both files by which to match them'
        )
    kept = np.flatnonzero(meshes.is_valid())
    return kept, kept


def _vertices(args: argparse.Namespace, meshes: Any) -> tuple[Any, Any, Any]:
    """Return the vertices in meters, the body or None, and a mesh for the picture."""
    import numpy as np
    import torch

    from mmjrr.body_models import VertexMaker
    from mmjrr.datasets.units import METERS
    from mmjrr.evaluation.evaluate_predictions import body_config
    from mmjrr.evaluation.predicted_body import body_of, body_parameters
    from mmjrr.registry import BODY_MODELS

    scale = METERS[args.unit]
    body = None
    if args.body_model is not None:
        config = body_of(meshes, body_config(args.body_model, {}), args.gender, args.num_betas)
        body = BODY_MODELS.build(dict(config)) if isinstance(config, dict) else config
    if meshes.vertices is not None:
        vertices = torch.from_numpy(np.asarray(meshes.vertices)) * scale
        if body is not None and body.num_vertices == vertices.shape[1]:
            return vertices, body, body.v_template.cpu().numpy()
        return vertices, None, vertices[0].numpy()
    if body is None:
        raise ValueError(
            f'{meshes.name}: has parameters and no vertices; --body-model names their body'
        )
    meshes.require_known_rotations()
    if args.num_betas is not None:
        meshes = meshes.with_num_betas(args.num_betas)
    parameters = body_parameters(meshes, body, scale)
    return VertexMaker(body)(**parameters), body, body.v_template.cpu().numpy()


def _check_units(args: argparse.Namespace, vertices: Any, joints: Any) -> None:
    """Check that joints spread about as far as the vertices among which they lie.

    Args:
        args: The command's arguments.
        vertices: Vertices (N, V, 3) in meters, a tensor or computed on demand.
        joints: Joints (N, J, 3) in meters, NaN if missing.

    Raises:
        DataError: Joints or vertices are in another unit than was said.
    """
    import numpy as np
    import torch

    from mmjrr.errors import DataError

    chosen = np.unique(np.linspace(0, len(joints) - 1, _CHECKED).astype(int))
    chosen = chosen[np.isfinite(joints[chosen]).all(2).sum(1) > 1]
    if not len(chosen):
        return
    meshes = vertices[torch.from_numpy(chosen)]
    meshes = meshes if isinstance(meshes, torch.Tensor) else meshes.of()
    of_joints, of_vertices = _spread(joints[chosen]), _spread(meshes.double().numpy())
    if _LEAST_SPREAD * of_vertices <= of_joints <= _LARGEST_SPREAD * of_vertices:
        return
    raise DataError(
        f'{args.joints}: joints spread over {of_joints:.3g} m in a frame and the vertices of '
        f'{args.meshes} over {of_vertices:.3g} m, so one of them is in another unit than was said '
        f'(--joints-unit {args.joints_unit} for the joints, --unit {args.unit} for vertices)'
    )


def _spread(points: Any) -> float:
    """Return the median over frames of the root mean square distance of points from their mean."""
    import numpy as np

    centered = points - np.nanmean(points, 1, keepdims=True)
    return float(np.median(np.sqrt(np.nanmean((centered**2).sum(2), 1))))


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(run, parse(add_arguments, __doc__, argv, prog))


if __name__ == '__main__':
    sys.exit(main())
