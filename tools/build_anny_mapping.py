#!/usr/bin/env python
r"""Build the mapping from Anny's mesh to the free body's, and measure the error that it adds.

Needs ``pip install anny==0.6.2``, which mmjrr itself does not::

    python tools/build_anny_mapping.py --out mmjrr/regressors/data/anny2free_body.npz \
        --errors work_dirs/results/mappings/anny.json

The free body was decimated from the mean of adults sampled from Anny in SMPL's T-pose. The mean of
the same adults on Anny's full mesh is the template to which each of its vertices is matched.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mmjrr.regressors import MeshMapping

_BATCH = 16


def main() -> None:
    """Build and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--out', type=Path, required=True, help='.npz file to write')
    parser.add_argument('--errors', type=Path, help='.json file to write the measured errors to')
    parser.add_argument('--samples', type=int, default=320, help='number of adults of the template')
    parser.add_argument('--bodies', type=int, default=200, help='number of bodies to measure on')
    args = parser.parse_args()

    import torch

    from mmjrr.body_models import AnnyBody, free_body
    from mmjrr.joints import SMPL_JOINTS
    from mmjrr.regressors import Template, match_meshes
    from mmjrr.regressors.mesh_matching import parts_of

    anny, free = AnnyBody(dtype=torch.float64), free_body(dtype=torch.float64)
    adults = _adults(args.samples, seed=0)
    template = sum(_vertices(anny, betas=part).sum(0) for part in _batches(adults)) / len(adults)
    of_anny = Template(
        'anny', template, anny.faces, parts_of(anny.weight_planes.numpy(), anny.bones)
    )
    of_free = Template(
        'free_body',
        free.v_template.numpy(),
        free.faces,
        parts_of(free.weight_planes.numpy(), SMPL_JOINTS),
    )
    mapping, back = match_meshes(of_anny, of_free), match_meshes(of_free, of_anny)
    mapping.provenance['command'] = 'tools/build_anny_mapping.py'
    print(f'{mapping}: {mapping.provenance["distance_mm"]}')
    errors = _errors(mapping, back, template, args.bodies)
    for name, error in errors.items():
        numbers = ', '.join(f'{key} {error[key]}' for key in ('mean', 'aligned', 'largest'))
        print(f'{name}: {numbers} mm')
    mapping.provenance['error_mm'] = {
        name: {key: error[key] for key in ('mean', 'aligned', 'largest', 'bodies')}
        for name, error in errors.items()
    }
    print(f'{mapping.save(args.out)}: {args.out.stat().st_size / 1e6:.2f} MB')
    if args.errors:
        _write(args.errors, mapping, errors)
        print(args.errors)


def _errors(
    mapping: MeshMapping, back: MeshMapping, template: np.ndarray, count: int
) -> dict[str, dict[str, Any]]:
    """Measure the carried regressor on bodies of both kinds."""
    import torch

    from mmjrr.body_models import AnnyBody, free_body
    from mmjrr.datasets.synthetic.nearest_bodies import nearest_shapes
    from mmjrr.regressors import JointRegressor, mapping_error

    anny, free = AnnyBody(dtype=torch.float64), free_body(dtype=torch.float64)
    regressor = JointRegressor.load('free_body_h36m', dtype=torch.float64)
    carried = regressor.to_mesh(mapping)
    rng = np.random.default_rng(1)
    betas, poses = torch.from_numpy(rng.normal(size=(count, 10))), _poses(count)
    of_free = _vertices(free, betas=betas, body_pose=poses)
    errors = {
        'there and back, free body': mapping_error(
            regressor, carried.to_mesh(back), of_free, of_free
        ),
        'same skeleton, poses': mapping_error(
            regressor, carried, of_free, _on_anny(free, back, template, betas, poses)
        ),
    }
    adults = _adults(count, seed=1)
    for name, pose in (('T-pose', torch.zeros(1, 23, 3)), ('poses', poses)):
        rest = np.concatenate([_vertices(anny, betas=part) for part in _batches(adults)])
        fitted = torch.from_numpy(nearest_shapes(free, mapping.carry(rest)))
        of_anny = [
            _vertices(anny, betas=part, body_pose=pose.double() if len(pose) == 1 else pose[rows])
            for part, rows in zip(_batches(adults), _rows(len(adults)), strict=True)
        ]
        on_free = _vertices(free, betas=fitted, body_pose=pose.double())
        errors[f'same people, {name}'] = mapping_error(
            regressor, carried, on_free, np.concatenate(of_anny)
        )
    return {name: error.as_dict() for name, error in errors.items()}


def _on_anny(
    free: Any, back: MeshMapping, template: np.ndarray, betas: Any, poses: Any
) -> np.ndarray:
    """Return bodies on Anny's mesh that have the free body's shapes, skeleton and weights."""
    import torch

    from mmjrr.body_models.lbs import skin

    weights = torch.from_numpy(back.matrix @ free.weight_planes.numpy().T).T
    shapes = np.stack([back.matrix @ plane.T for plane in free.blend_planes[:10].numpy()])
    posed = free.articulate(betas=betas, body_pose=poses)
    offsets = torch.einsum('nb,bvc->ncv', betas, torch.from_numpy(shapes))
    shaped = torch.from_numpy(template).T + offsets
    zero = torch.zeros(len(betas), 3, dtype=torch.float64)
    return skin(shaped, posed.transforms, weights, zero).transpose(1, 2).contiguous().numpy()


def _poses(count: int) -> Any:  # (count, 23, 3)
    """Sample poses of all actions of the synthetic set."""
    import torch

    from mmjrr.datasets.synthetic.actions import ACTIONS
    from mmjrr.datasets.synthetic.motion import sample_motion

    names = sorted(ACTIONS)
    times = np.linspace(0, 30, -(-count // len(names)))
    motions = [sample_motion(1, 'S1', name, times).body_pose for name in names]
    return torch.from_numpy(np.stack(motions, 1).reshape(-1, 23, 3)[:count])


def _adults(count: int, seed: int) -> Any:  # (count, 11)
    import torch

    from mmjrr.body_models.anny_adults import sample_phenotypes
    from mmjrr.body_models.anny_body import PHENOTYPES

    phenotypes = sample_phenotypes(count, np.random.default_rng(seed))
    return torch.stack([torch.from_numpy(phenotypes[name]) for name in PHENOTYPES], 1)


def _vertices(body: Any, **parameters: Any) -> np.ndarray:
    import torch

    with torch.no_grad():
        return body(**parameters).vertices.contiguous().numpy()


def _rows(count: int) -> list[slice]:
    return [slice(start, start + _BATCH) for start in range(0, count, _BATCH)]


def _batches(values: Any) -> list[Any]:
    return [values[rows] for rows in _rows(len(values))]


def _write(path: Path, mapping: MeshMapping, errors: dict[str, dict[str, Any]]) -> None:
    import json

    from mmjrr.io import atomic_write, versions

    content = {
        'mapping': f'{mapping.source} to {mapping.target}',
        'distance_mm': mapping.provenance['distance_mm'],
        'errors_mm': errors,
        'versions': versions(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
