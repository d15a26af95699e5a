"""The people of the synthetic H36M: who they are, and the meshes that they have in a pose.

The fitted model is always the free body. People who are free bodies can be matched by it. Anny's
cannot: their shapes have more components, and their skeletons other joints.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mmjrr.array_types import FloatArray, IndexArray
from mmjrr.datasets.synthetic.nearest_bodies import nearest_shapes
from mmjrr.datasets.synthetic.posing import pose_body, rest_body
from mmjrr.datasets.synthetic.seeding import stream
from mmjrr.datasets.synthetic.subjects import Subject, make_subject
from mmjrr.joints import SMPL_JOINTS
from mmjrr.regressors import JointRegressor

if TYPE_CHECKING:
    from mmjrr.body_models import SMPL, AnnyBody
    from mmjrr.regressors import MeshMapping


class People(ABC):
    """People of one body model.

    Args:
        seed: Seed of the dataset.
        regressor: The true regressor, for the free body.

    Attributes:
        regressor: The true regressor, for the people's mesh.
        faces: (F, 3), of their mesh.
        weight_planes: (24, V), the share of SMPL's joints in the movement of their vertices.
    """

    regressor: JointRegressor
    faces: IndexArray
    weight_planes: FloatArray

    def __init__(self, seed: int, regressor: JointRegressor) -> None:
        self.seed = seed
        self.regressor = regressor
        self.subject = lru_cache(maxsize=None)(self._draw)

    def _draw(self, name: str, ankle_offsets: bool = True) -> Subject:
        """Draw a subject; ``betas`` are the free body's, nearest to the subject in the T-pose."""
        return make_subject(self.seed, name, ankle_offsets=ankle_offsets)

    @abstractmethod
    def vertices(self, subject: Subject, pose: FloatArray) -> FloatArray:
        """Pose a subject by (N, 24, 3) axis-angle without translation: (N, V, 3), meters."""

    @abstractmethod
    def rest_pelvis(self, subject: Subject) -> FloatArray:
        """Return the pelvis of a subject's rest pose, (3,), meters."""

    @abstractmethod
    def average(self) -> tuple[FloatArray, FloatArray]:
        """Return vertices (V, 3) and SMPL's joints (24, 3) of an average person in the T-pose."""

    @abstractmethod
    def on_free_body(self, vertices: FloatArray) -> FloatArray:
        """Return the free body's vertices (N, 6890, 3) on the surface of meshes (N, V, 3)."""


class FreePeople(People):
    """Free bodies with shapes drawn from the population that the model describes."""

    def __init__(self, seed: int, regressor: JointRegressor, body: SMPL) -> None:
        super().__init__(seed, regressor)
        self.body = body
        self.faces = np.asarray(body.faces, dtype=np.int64)
        self.weight_planes = body.weight_planes.double().numpy()

    def vertices(self, subject: Subject, pose: FloatArray) -> FloatArray:
        """Pose a subject."""
        return pose_body(self.body, subject.betas, pose)

    def rest_pelvis(self, subject: Subject) -> FloatArray:
        """Return the pelvis of a subject's rest pose."""
        return rest_body(self.body, subject.betas[None])[1][0, 0]

    def average(self) -> tuple[FloatArray, FloatArray]:
        """Return the mean body."""
        vertices, joints = rest_body(self.body, np.zeros((1, 10)))
        return vertices[0], joints[0]

    def on_free_body(self, vertices: FloatArray) -> FloatArray:
        """Return the vertices themselves."""
        return vertices


class AnnyPeople(People):
    """Adults of Anny, with its full mesh; the mapping to the free body ships with mmjrr.

    Raises:
        ImportError: The package ``anny`` is not installed.
    """

    def __init__(self, seed: int, regressor: JointRegressor, body: SMPL) -> None:
        mesh = anny_mesh()
        super().__init__(seed, regressor.to_mesh(mesh.mapping))
        self.mesh, self.free_body = mesh, body
        anny = mesh.body
        self.faces = np.asarray(anny.faces, dtype=np.int64)
        self.weight_planes = np.zeros((len(SMPL_JOINTS), anny.num_vertices))
        weights = anny.weight_planes.double().numpy()
        np.add.at(self.weight_planes, anny.joint_of_bones.numpy(), weights)
        vertices, joints = rest_body(anny, anny.mean_phenotypes.double().numpy())
        self._average = vertices[0], joints[0]

    def _draw(self, name: str, ankle_offsets: bool = True) -> Subject:
        """Draw an adult."""
        from mmjrr.body_models.anny_adults import sample_phenotypes

        drawn = sample_phenotypes(1, stream(self.seed, 'phenotypes', name))
        phenotypes = np.concatenate(list(drawn.values()))
        rest = rest_body(self.mesh.body, phenotypes[None])[0]
        # Rounded, since a solver's last digits depend on where its arrays lie in memory.
        betas = nearest_shapes(self.free_body, self.mesh.mapping.carry(rest))[0].round(4)
        subject = super()._draw(name, ankle_offsets)
        return replace(subject, betas=betas, phenotypes=phenotypes)

    def vertices(self, subject: Subject, pose: FloatArray) -> FloatArray:
        """Pose a subject."""
        assert subject.phenotypes is not None
        return pose_body(self.mesh.body, subject.phenotypes, pose)

    def rest_pelvis(self, subject: Subject) -> FloatArray:
        """Return the pelvis, which Anny's body has in one place for all shapes."""
        return self._average[1][0]

    def average(self) -> tuple[FloatArray, FloatArray]:
        """Return an average adult."""
        return self._average

    def on_free_body(self, vertices: FloatArray) -> FloatArray:
        """Carry meshes with the mapping."""
        return self.mesh.mapping.carry(vertices)


@dataclass(frozen=True)
class AnnyMesh:
    """Anny's body and the mapping from its mesh to the free body's."""

    body: AnnyBody
    mapping: MeshMapping


@lru_cache(maxsize=1)
def anny_mesh() -> AnnyMesh:
    """Load Anny and the mapping that ships with mmjrr; both are cached.

    Raises:
        ImportError: The package ``anny`` is not installed.
    """
    from mmjrr.body_models import AnnyBody
    from mmjrr.regressors import find_mapping

    return AnnyMesh(AnnyBody(), find_mapping('anny', 'free_body'))


def make_people(kind: str, seed: int, regressor: JointRegressor, body: SMPL) -> People:
    """Make the people of a set.

    Args:
        kind: One of :data:`~mmjrr.datasets.synthetic.settings.PEOPLE`.
        seed: Seed of the dataset.
        regressor: The true regressor, for the free body.
        body: The free body.

    Raises:
        ImportError: The package that the people need is not installed.
    """
    if kind == 'anny':
        return AnnyPeople(seed, regressor, body)
    return FreePeople(seed, regressor, body)
