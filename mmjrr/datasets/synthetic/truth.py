"""Comparison of results with the truth of a synthetic set. Only checks may use it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import Array
from mmjrr.datasets.synthetic.nearest_bodies import fit_to_meshes
from mmjrr.datasets.synthetic.people import anny_mesh
from mmjrr.datasets.synthetic.posing import float_type
from mmjrr.io import read_npz
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_JOINTS
from mmjrr.regressors import JointRegressor, fit_joint_regressor

if TYPE_CHECKING:
    from mmjrr.body_models import SMPL, SkinnedBody

#: Joints whose skinning weights define the feet.
FOOT_JOINTS = ('left_ankle', 'right_ankle', 'left_foot', 'right_foot')


class SyntheticTruth:
    """True bodies of a synthetic set, as meshes of the free body.

    Anny's people are compared in the free body's topology: the mapping that ships with mmjrr gives
    the free body's vertices as points of Anny's surface. No free body equals them, so the least
    possible vertex error is not zero; :meth:`limits_mm` measures it.

    Args:
        root: Folder of the set, as :func:`~mmjrr.datasets.synthetic.generate` writes it.
        body: The body with which it was made.
    """

    def __init__(self, root: str | Path, body: SMPL) -> None:
        self.root = Path(root)
        self.body = body
        self.regressor = JointRegressor.load(self.root / 'truth' / 'J_true.npy')

    def parameters(self, split: str) -> dict[str, Array]:
        """Read ``imgname``, ``pose``, ``betas``, ``transl`` of ``'train'`` or ``'test'``.

        Of Anny's people there are ``phenotypes`` too, and ``betas`` are those of the free body that
        is nearest in the T-pose.
        """
        return read_npz(self.root / 'truth' / f'h36m_{split}.npz')

    def vertices(self, parameters: dict[str, Array], batch_size: int = 64) -> Iterator[Tensor]:
        """Yield meshes (N, V, 3), meters, camera frame, batch by batch.

        They are Anny's, carried to the free body's topology, where there are ``phenotypes``, and
        free bodies otherwise.
        """
        anny = anny_mesh() if 'phenotypes' in parameters else None
        body: SkinnedBody = self.body if anny is None else anny.body
        shape = 'betas' if anny is None else 'phenotypes'
        for start in range(0, len(parameters['pose']), batch_size):
            part = {
                name: torch.from_numpy(
                    np.asarray(parameters[name][start : start + batch_size], dtype=np.float32)
                ).to(float_type(body))
                for name in ('pose', shape, 'transl')
            }
            with torch.no_grad():
                vertices = body(
                    global_orient=part['pose'][:, :3],
                    body_pose=part['pose'][:, 3:],
                    betas=part[shape],
                    transl=part['transl'],
                ).vertices
                if anny is not None:
                    carried = anny.mapping.carry(vertices.numpy())
                    vertices = torch.from_numpy(carried).to(self.body.v_template)
            yield vertices  # outside no_grad, which would leak to the caller

    def vertex_error_mm(
        self, fits: dict[str, Array], split: str = 'train', part: str = 'all'
    ) -> float:
        """Measure the PVE: mean distance of vertices from the true ones, pelvis-aligned, in mm.

        Args:
            fits: ``imgname``, ``pose``, ``betas``, matched by image name.
            split: ``'train'`` or ``'test'``.
            part: ``'all'`` vertices, or those of the ``'feet'``.
        """
        truth = self.parameters(split)
        row = {name: index for index, name in enumerate(truth['imgname'].tolist())}
        rows = [row[name] for name in fits['imgname'].tolist()]
        truth = {name: value[rows] for name, value in truth.items()}
        fits = dict(fits, transl=np.zeros((len(rows), 3), dtype=np.float32))
        chosen = self._part(part)
        total = 0.0
        for true, fitted in zip(self.vertices(truth), self.vertices(fits), strict=True):
            true, fitted = (v - self.regressor(v)[:, :1] for v in (true, fitted))
            total += float((true - fitted)[:, chosen].norm(dim=-1).mean(1).double().sum())
        return 1000 * total / len(rows)

    def regressor_error_mm(self, regressor: JointRegressor, split: str = 'test') -> float:
        """Measure the mean distance from true joints on true meshes, pelvis-aligned, in mm."""
        regressor = regressor.reorder(H36M_JOINTS_MMPOSE)
        true_regressor = self.regressor.reorder(H36M_JOINTS_MMPOSE)
        distances = []
        for vertices in self.vertices(self.parameters(split)):
            joints, true = regressor(vertices), true_regressor(vertices)
            distances.append(
                ((joints - joints[:, :1]) - (true - true[:, :1])).norm(dim=-1).double()
            )
        return 1000 * float(torch.cat(distances).mean())

    def floor_mm(self, split: str = 'train') -> float:
        """Measure the error of the regressor fitted to true meshes and annotated joints, in mm."""
        return self._fitted_regressor_error_mm(self.parameters(split), split)

    def limits_mm(self, split: str = 'train', max_iter: int = 300) -> dict[str, float]:
        """Measure how near free bodies come to the true ones, in mm.

        Each body counts once, in the first of the views of a moment.

        Args:
            split: ``'train'`` or ``'test'``.
            max_iter: Most iterations of the fit. Default: 300.

        Returns:
            ``posed``: vertex error of free bodies that are nearest to the subjects in the T-pose,
            in the true poses; ``fitted``: vertex error of free bodies fitted to the true vertices,
            one shape per subject; ``fitted_regressor``: error of the regressor fitted to these
            bodies and the annotated joints. Both errors of vertices are zero for free people.
        """
        truth = self.parameters(split)
        first = np.sort(np.unique(truth['pose'][:, 3:], axis=0, return_index=True)[1])
        truth = {name: value[first] for name, value in truth.items()}
        nearest = {name: value for name, value in truth.items() if name != 'phenotypes'}
        persons = np.array([name.split('/')[0] for name in truth['imgname'].tolist()])
        meshes = torch.cat(list(self.vertices(truth)))
        fits = fit_to_meshes(
            self.body, meshes, truth['pose'], truth['betas'], persons, max_iter=max_iter
        )
        fitted = dict(imgname=truth['imgname'], **fits)
        return {
            'posed': self.vertex_error_mm(nearest, split),
            'fitted': self.vertex_error_mm(fitted, split),
            'fitted_regressor': self._fitted_regressor_error_mm(fitted, split),
        }

    def _fitted_regressor_error_mm(self, bodies: dict[str, Array], split: str) -> float:
        """Measure the error of the regressor fitted to bodies and annotated joints, in mm."""
        table = read_npz(self.root / 'annotation_body3d' / 'fps10' / f'h36m_{split}.npz')
        joints = dict(zip(table['imgname'].tolist(), table['S'][:, :, :3], strict=True))
        ordered = np.stack([joints[name] for name in bodies['imgname'].tolist()])
        starts = np.cumsum([0] + [64] * (len(ordered) // 64 + 1))

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            for start, vertices in zip(starts, self.vertices(bodies), strict=False):
                yield vertices, torch.from_numpy(ordered[start : start + len(vertices)]).float()

        fit = fit_joint_regressor(batches(), joint_names=H36M_JOINTS_MMPOSE, root=None)
        return self.regressor_error_mm(fit.regressor)

    def pose_distance_deg(self, poses: Array, references: Array, neighbors: int = 1) -> float:
        """Measure how plausible poses are: their distance from real ones, in degrees.

        Args:
            poses: (N, 69) body poses.
            references: (M, 69) real body poses.
            neighbors: Number of nearest references to average over. Default: 1.

        Returns:
            Mean angle per joint from each pose to its nearest references.
        """
        from mmjrr.geometry import axis_angle_to_matrix

        a = axis_angle_to_matrix(torch.from_numpy(poses).float().unflatten(1, (-1, 3)))
        b = axis_angle_to_matrix(torch.from_numpy(references).float().unflatten(1, (-1, 3)))
        nearest = []
        for pose in a:
            trace = (pose[None] * b).sum((-1, -2))
            angle = torch.arccos(((trace - 1) / 2).clamp(-1, 1)).mean(1)
            nearest.append(angle.sort().values[:neighbors].mean())
        return float(torch.rad2deg(torch.stack(nearest).mean()))

    def _part(self, part: str) -> Tensor:
        if part == 'all':
            return torch.arange(self.body.num_vertices)
        if part == 'feet':
            rows = [SMPL_JOINTS.index(name) for name in FOOT_JOINTS]
            return torch.nonzero(self.body.weight_planes[rows].sum(0) > 0.5).flatten()
        raise ValueError(f"part: found {part!r}, expected 'all' or 'feet'")
