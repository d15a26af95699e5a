"""Joint regressor: a linear map from a body's vertices to its joints, with named rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmjrr.array_types import Array
from mmjrr.body_models.known_meshes import same_mesh
from mmjrr.errors import DataError
from mmjrr.joints import JOINT_ORDERS, joint_names_of, reorder_index
from mmjrr.package_versions import check_package_versions
from mmjrr.regressors.checks import (
    check_limbs,
    check_sides,
    check_weight,
    clean_rows,
    declared_body,
    declared_joint_names,
)
from mmjrr.regressors.known_mappings import find_mapping
from mmjrr.regressors.mesh_mapping import MeshMapping
from mmjrr.regressors.normals import NormalOffsets
from mmjrr.regressors.regressor_files import RegressorFile, read_regressor, write_regressor
from mmjrr.regressors.zoo import ZOO

check_package_versions()

#: Largest accepted deviation of a row's sum from one.
_SUM_TOLERANCE = 1e-4


class JointRegressor(nn.Module):
    """Joints as convex combinations of vertices: ``joints = weight @ vertices``.

    Rows have joint names, since files of the same shape come in different orders. The weights are
    constants in non-persistent buffers: they move with a module's device, but are not part of its
    checkpoints, since a regressor is identified by its own file.

    Args:
        weight: ``(J, V)``, non-negative, rows summing to one within 1e-4 or the precision of its
            type, which are normalized. :meth:`load` cleans other matrices.
        joint_names: Name of each row, or the name of an order (``'mmpose'``, ``'spin'``).
        body_model: Name of the body whose vertices are the columns. Default: ``'smpl'``.
        provenance: Description of its making, as plain values for JSON. Default: None, empty.
        cleaning: Changes made by loading, a sentence each. Default: empty.
        normal_offsets: ``(J,)``, meters by which each point lies off the surface, along its normal
            (:mod:`mmjrr.regressors.normals`): markers on the skin. Vertices must be in meters.
            Default: None, no offsets.
        faces: ``(F, 3)``, the mesh's faces, from which normals are computed; needed for offsets.

    Raises:
        ValueError: The shape is wrong, a weight is NaN, infinite or negative, a row is all zeros or
            does not sum to one, or there is not one name for each row.

    >>> regressor = JointRegressor(torch.tensor([[0.5, 0.5, 0.0]]), ['knee'], body_model='toy')
    >>> regressor(torch.tensor([[0.0, 0, 0], [2, 4, 6], [9, 9, 9]])).tolist()
    [[1.0, 2.0, 3.0]]
    """

    weight: Tensor
    support: Tensor
    support_weight: Tensor

    def __init__(
        self,
        weight: Tensor | Array,  # (J, V)
        joint_names: str | Sequence[str],
        body_model: str = 'smpl',
        provenance: dict[str, Any] | None = None,
        cleaning: Sequence[str] = (),
        normal_offsets: Tensor | Array | None = None,
        faces: Tensor | Array | None = None,
    ) -> None:
        super().__init__()
        self.joint_names = joint_names_of(joint_names)
        self.body_model = body_model
        self.provenance = dict(provenance or {})
        self.cleaning = tuple(cleaning)

        weight = torch.as_tensor(weight).detach()
        if not weight.is_floating_point():
            weight = weight.to(torch.get_default_dtype())
        array = weight.cpu().double().numpy()
        check_weight(array, self.joint_names, body_model, 'weight')
        if array.min() < 0:
            raise ValueError(
                f'weight: found negative entries (least: {array.min():.3g}), expected none'
            )
        off = np.abs(array.sum(1) - 1).max()
        if off > max(_SUM_TOLERANCE, torch.finfo(weight.dtype).eps):
            raise ValueError(
                f'weight: found a row sum off by {off:.3g}, expected rows to sum to one'
            )
        weight = weight / weight.double().sum(1, keepdim=True).to(weight.dtype)

        self.normals: NormalOffsets | None = None
        if normal_offsets is not None and torch.as_tensor(normal_offsets).any():
            if faces is None:
                raise ValueError('faces: found none, expected those of the mesh, for normals')
            self.normals = NormalOffsets(normal_offsets, weight, faces)
        has_weight = weight.any(0)
        if self.normals is not None:
            has_weight[self.normals.vertex_ids] = True
        support = torch.nonzero(has_weight)[:, 0]  # sorted
        self.register_buffer('weight', weight, persistent=False)
        self.register_buffer('support', support, persistent=False)
        self.register_buffer('support_weight', weight[:, support], persistent=False)

    @property
    def num_joints(self) -> int:
        """Number of rows."""
        return self.weight.shape[0]

    @property
    def num_vertices(self) -> int:
        """Number of columns."""
        return self.weight.shape[1]

    @property
    def support_sizes(self) -> dict[str, int]:
        """Number of vertices with nonzero weight, by joint name."""
        counts = (self.weight != 0).sum(1).tolist()
        return dict(zip(self.joint_names, counts, strict=True))

    def forward(self, vertices: Tensor) -> Tensor:
        """Compute joints in the vertices' frame, unit, dtype and device.

        Args:
            vertices: ``(..., V, 3)``; or ``(..., S, 3)``, only those of ``self.support``, as
                ``body.restrict_to(regressor.support)`` computes them. Integers become numbers of
                the regressor's dtype.

        Returns:
            ``(..., J, 3)``, differentiable in the vertices.

        Raises:
            ValueError: ``vertices`` has another shape.
        """
        count = vertices.shape[-2] if vertices.ndim >= 2 else -1
        if count not in (self.num_vertices, len(self.support)) or vertices.shape[-1] != 3:
            raise ValueError(
                f'vertices: found {tuple(vertices.shape)}, expected (..., {self.num_vertices}, 3), '
                f'or (..., {len(self.support)}, 3) on the support'
            )
        if count == self.num_vertices and count != len(self.support):
            vertices = vertices.index_select(-2, self.support.to(vertices.device))
        if not vertices.is_floating_point():
            vertices = vertices.to(self.weight.dtype)
        points = self.support_weight.to(vertices) @ vertices
        if self.normals is not None:
            points = points + self.normals(vertices, self.support_weight, self.support)
        return points

    @property
    def normal_offsets(self) -> Tensor | None:
        """Meters (J,) by which each point lies off the surface; None if all lie on or within it."""
        return None if self.normals is None else self.normals.offsets

    def reorder(self, joint_order: str | Sequence[str]) -> JointRegressor:
        """Return a regressor with these rows, in this order.

        Args:
            joint_order: Name of an order, or joint names, all or some of this regressor's.

        Raises:
            ValueError: A joint is not among the rows.
        """
        names = joint_names_of(joint_order)
        index = reorder_index(self.joint_names, names)
        return JointRegressor(
            self.weight[index],
            names,
            self.body_model,
            self.provenance,
            self.cleaning,
            None if self.normals is None else self.normals.offsets[index],
            None if self.normals is None else self.normals.faces,
        )

    def to_mesh(self, mapping: MeshMapping, error: dict[str, Any] | None = None) -> JointRegressor:
        """Return the regressor of the same joints from the vertices of another mesh.

        Args:
            mapping: Mapping that computes the vertices of this regressor's mesh, its target, from
                those of the other mesh, its source: ``smplx2smpl`` for a regressor that is to take
                SMPL-X's vertices.
            error: Measured error that the mapping adds, for the provenance, as
                :meth:`mmjrr.regressors.MappingError.as_dict` returns it. Default: None, that of the
                mapping's provenance, if it states one.

        Raises:
            ValueError: The mapping computes the vertices of another mesh, or the regressor has
                points off the surface.
        """
        if self.normals is not None:
            raise ValueError(
                'normal_offsets: found points off the surface; a mapping does not carry normals'
            )
        if mapping.num_target_vertices != self.num_vertices or not (
            mapping.target == 'unnamed'
            or self.body_model == 'unnamed'
            or same_mesh(mapping.target, self.body_model)
        ):
            reverse = ' (it is the reverse one)' if mapping.source == self.body_model else ''
            raise ValueError(
                f'mapping: found one that computes {mapping.num_target_vertices} vertices of '
                f'{mapping.target!r}{reverse}, expected the {self.num_vertices} of '
                f'{self.body_model!r}, the mesh of the regressor'
            )
        weight = self.weight.cpu().double().numpy()
        carried, notes = clean_rows((mapping.matrix.T @ weight.T).T, self.joint_names)
        description = {
            'from': self.body_model,
            'to': mapping.source,
            'mapping': mapping.provenance,
            'error_mm': error or mapping.provenance.get('error_mm', 'not measured'),
        }
        return JointRegressor(
            torch.from_numpy(carried).to(self.weight),
            self.joint_names,
            mapping.source,
            {**self.provenance, 'carried': [*self.provenance.get('carried', []), description]},
            [*self.cleaning, *notes],
        )

    def extra_repr(self) -> str:
        """Describe sizes, body and order of the rows."""
        order = next((k for k, v in JOINT_ORDERS.items() if v == self.joint_names), None)
        shown = f'order {order!r}' if order else f'joints {list(self.joint_names)}'
        return (
            f'{self.num_joints} joints from {self.num_vertices} vertices of {self.body_model!r}, '
            f'{shown}, {int((self.weight != 0).sum())} weights on {len(self.support)} vertices'
        )

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.extra_repr()})'

    # -- files -------------------------------------------------------------------------------

    @classmethod
    def load(
        cls,
        path_or_name: str | Path,
        joint_order: str | Sequence[str] | None = None,
        body_model: Any = None,
        dtype: torch.dtype = torch.float32,
    ) -> JointRegressor:
        """Read a regressor from a file, or by its name in the zoo.

        Negative weights are clamped at zero, and rows are divided by their sums; these changes are
        logged and listed in ``.cleaning``. All other defects raise.

        Args:
            path_or_name: ``.npy``, ``.npz`` (one 2-D array, or this package's sparse form),
                ``.pt``/``.pth`` (a tensor, or a dict that contains one); or a name in
                :data:`mmjrr.regressors.ZOO`.
            joint_order: Order of the file's rows: ``'mmpose'``, ``'spin'`` or joint names. Required
                if neither the zoo nor a sidecar (``NAME.json`` next to ``NAME.npy``, which
                :meth:`save` writes) states the order. It declares the order; :meth:`reorder`
                changes it.
            body_model: Body whose vertices are the columns: its name, the body itself (with
                ``v_template`` or ``template``), or its template ``(V, 3)`` with x towards the
                body's left. Sides are checked on the template; for SMPL and the free body, the name
                is enough (:mod:`mmjrr.regressors.sides`). Default: None, the body of zoo or
                sidecar, or ``'smpl'`` for 6890 columns.
            dtype: Type of the weights. Default: float32. Cleaning is done in float64.

        Raises:
            FileNotFoundError: The file does not exist; for names in the zoo, the message says where
                to get it.
            DataError: The name or file type is unknown, the checksum is not that of sidecar or zoo,
                the shape is wrong, a weight is NaN or infinite, a row has no positive weight, left
                and right are swapped against the declared order, the order contradicts that of
                sidecar or zoo, or no order is known.
        """
        try:
            return cls._load(path_or_name, joint_order, body_model, dtype)
        except DataError:
            raise
        except ValueError as error:
            raise DataError(str(error)) from error

    @classmethod
    def _load(
        cls, path_or_name: str | Path, joint_order: Any, body_model: Any, dtype: torch.dtype
    ) -> JointRegressor:
        entry = ZOO.get(path_or_name) if isinstance(path_or_name, str) else None
        if entry is not None and entry.carried_from is not None:
            mapping = find_mapping(entry.body_model, ZOO[entry.carried_from].body_model)
            carried = cls.load(entry.carried_from, joint_order, None, dtype).to_mesh(mapping)
            carried._check_declared_body(entry.name, body_model)
            return carried
        file = read_regressor(path_or_name)
        names = declared_joint_names(file, joint_order)
        body = declared_body(file, body_model)
        where = str(file.path)
        check_weight(file.weight, names, body.name, where)
        weight, notes = clean_rows(file.weight, names)
        check_sides(weight, names, body, where, file.n_frames)
        check_limbs(weight, names, body, where, file.n_frames)
        if body.note is not None:
            notes.append(body.note)
        for note in notes:
            print_log(f'{file.path.name}: {note}', logger='current')
        provenance = {'file': file.path.name, **file.provenance, 'file_sha256': file.sha256}
        try:
            return cls(
                torch.from_numpy(weight).to(dtype),
                names,
                body.name,
                provenance,
                notes,
                file.normal_offsets,
                file.normal_faces,
            )
        except ValueError as error:
            raise ValueError(f'{where}: {error}') from error

    def _check_declared_body(self, name: str, body_model: Any) -> None:
        """Check the body that a caller of :meth:`load` declares, against a carried regressor.

        Raises:
            ValueError: It is another body, or sides or limbs are exchanged on its template.
        """
        weight = self.weight.cpu().double().numpy()
        file = RegressorFile(Path(name), '', weight, self.joint_names, self.body_model)
        body = declared_body(file, body_model)
        check_sides(weight, self.joint_names, body, name)
        check_limbs(weight, self.joint_names, body, name)

    def save(self, path: str | Path) -> Path:
        """Write ``NAME.npy`` and its sidecar ``NAME.json`` (names, body, checksum, provenance).

        Each is written whole or not at all, the sidecar first. Equal regressors give equal bytes.

        Returns:
            The path of the ``.npy``.

        Raises:
            ValueError: ``path`` does not end in ``.npy``.
        """
        weight = self.weight.cpu()
        if weight.dtype == torch.bfloat16:  # NumPy has no such type
            weight = weight.float()
        return write_regressor(
            path,
            weight.numpy(),
            self.joint_names,
            self.body_model,
            self.cleaning,
            self.provenance,
            None
            if self.normals is None
            else (self.normals.offsets.cpu().numpy(), self.normals.faces.cpu().numpy()),
        )
