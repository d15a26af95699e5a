r"""Carry a joint regressor to another mesh.

    python tools/transfer.py J_opt --mapping smplx2smpl_deftrafo_setup.pkl --out J_opt_smplx.npy
    python tools/transfer.py J_opt --mapping mhr2smpl_mapping.npz --faces mhr_face_mask.ply \
        --out J_opt_mhr.npy
    python tools/transfer.py J.npy --template mine.obj --own-template body.obj --out J_mine.npy

A mapping computes the vertices of the regressor's mesh from those of the other mesh. Without a file
of one, it is computed from the templates of both meshes in the same pose, place and unit.
docs/bodies.md says where mappings come from and which error they add.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmjrr.cli.options import add_joint_order, parse, run_command

if TYPE_CHECKING:
    from mmjrr.regressors import JointRegressor, MeshMapping


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument('regressor', help='regressor: a name of the zoo or a file')
    add_joint_order(parser)
    parser.add_argument('--mapping', metavar='FILE', help='mapping: .pkl, .npz, .npy or .pt')
    parser.add_argument(
        '--faces',
        metavar='FILE',
        help='triangles of the other mesh, for mappings by barycentric coordinates: .obj, .ply, '
        '.npy, .npz or .pkl',
    )
    parser.add_argument(
        '--to',
        metavar='NAME',
        help='name of the other mesh (default: from its number of vertices); without --mapping and '
        '--template, the mesh to which a known mapping leads: smplx, mhr or anny',
    )
    parser.add_argument(
        '--template', metavar='MESH', help='.obj or .ply of the other mesh, to compute a mapping'
    )
    parser.add_argument(
        '--own-template',
        metavar='MESH',
        help="the regressor's mesh in the same pose, place and unit (meters)",
    )
    parser.add_argument('--mapping-out', metavar='FILE', help='.npz to write the mapping to')
    parser.add_argument('--out', type=Path, required=True, help='.npy file of the new regressor')


def run(args: argparse.Namespace) -> None:
    """Carry the regressor to the mesh, print a summary, and write the files."""
    from mmjrr.io.paths import check_suffix
    from mmjrr.regressors import JointRegressor

    check_suffix(args.out, '.npy', option='--out')
    if args.mapping_out is not None:
        check_suffix(args.mapping_out, '.npz', option='--mapping-out')
    _check_options(args)
    regressor = JointRegressor.load(args.regressor, joint_order=args.joint_order)
    mapping = _mapping(args, regressor)
    carried = regressor.to_mesh(mapping)
    print(f'{mapping}')
    for name, value in mapping.provenance.items():
        print(f'  {name}: {value}')
    print(f'{"Joint":16} {"vertices":>8}  after')
    sizes = carried.support_sizes
    for name, size in regressor.support_sizes.items():
        print(f'{name:16} {size:8}  {sizes[name]}')
    print(
        'The error that the mapping adds is not measured: that needs bodies of both kinds in the '
        'same poses (mmjrr.regressors.mapping_accuracy; docs/bodies.md).'
    )
    if args.mapping_out is not None:
        print(f'Wrote {mapping.save(args.mapping_out)}')
    print(f'Wrote {carried.save(args.out)} and its sidecar')


def _check_options(args: argparse.Namespace) -> None:
    """Refuse options that have no use with the others.

    Raises:
        ValueError: One is given, or the mapping has no origin.
    """
    if args.mapping is None and args.template is None and args.to is None:
        raise ValueError('found no --mapping, --to or --template, expected one of them')
    if args.mapping is not None and args.template is not None:
        raise ValueError('found both --mapping and --template, expected one of them')
    if args.faces is not None and args.mapping is None:
        raise ValueError('--faces: needs --mapping, whose triangles they are')
    if args.own_template is not None and args.template is None:
        raise ValueError('--own-template: needs --template, the mesh to carry to')
    if args.template is not None and args.own_template is None:
        raise ValueError(
            "--own-template: missing; expected the regressor's mesh in the pose of --template"
        )


def _mapping(args: argparse.Namespace, regressor: JointRegressor) -> MeshMapping:
    from mmjrr.io import read_mesh_faces, read_mesh_vertices
    from mmjrr.regressors import MeshMapping, Template, find_mapping, match_meshes

    if args.mapping is not None:
        return MeshMapping.load(args.mapping, args.faces, source=args.to)
    if args.template is None:
        return find_mapping(args.to, regressor.body_model)
    templates = [
        Template(name, read_mesh_vertices(path).astype(float), read_mesh_faces(path))
        for name, path in (
            (args.to or Path(args.template).stem, args.template),
            (regressor.body_model, args.own_template),
        )
    ]
    return match_meshes(*templates)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(run, parse(add_arguments, __doc__, argv, prog))


if __name__ == '__main__':
    sys.exit(main())
