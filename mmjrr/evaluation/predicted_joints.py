"""Joints of stored predictions, collected file by file, from meshes or SMPL parameters."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.predictions import Predictions
from mmjrr.datasets.units import meters_per
from mmjrr.errors import DataError
from mmjrr.io.mapped import pieces, release, take, working_array
from mmjrr.jobs.progress import Progress

from .core import check_extent, check_finite, hint_at_unit
from .regressed_joints import RegressedJoints

#: Number of meshes that are read at once.
_CHUNK = 256
#: Number of bodies whose parameters are gathered at once: a multiple of the number that
#: :meth:`RegressedJoints.from_parameters` computes at once, so that it does not change results.
_BODIES = 4096


class PredictedJoints:
    """Joints of predictions that are added file by file.

    :meth:`add` regresses the joints of meshes at once. It only stores SMPL parameters, because the
    order in which bodies are computed decides the last bits of their joints; :meth:`compute`
    computes the bodies of all files in one order.

    Args:
        joints: The regressors and the body.
        unit: Unit of vertices and ``transl``, 'm', 'cm' or 'mm'.
        absolute: Whether a protocol compares absolute positions, which need translations.
        progress: Whether to write progress to stderr. Default: False.
    """

    def __init__(
        self, joints: RegressedJoints, unit: str, absolute: bool = False, progress: bool = False
    ) -> None:
        self.joints, self.scale, self.absolute = joints, meters_per(unit), absolute
        self.progress = progress
        self._regressed: list[tuple[Array, Array]] = []  # frames, joints
        #: Frames, rows of the parameters, and the parameters by name.
        self._parameters: list[tuple[Array, Array, dict[str, Array]]] = []

    def add(
        self,
        part: Predictions,
        rows: Array,  # (n,)
        frames: Array,  # (n,)
        names: Sequence[str],  # n
    ) -> None:
        """Add some of the predicted bodies of a file.

        Args:
            part: The predictions.
            rows: Rows of the predictions to add.
            frames: Numbers of the rows' frames.
            names: Image names of the rows' frames, for messages.

        Raises:
            ValueError: The predictions are parameters and there is no body; the number of betas or
                vertices does not fit; or a value is not finite or implausible.
            DataError: The file has no ``transl``, which absolute positions need.
        """
        if part.vertices is None and not self.joints.has_body:
            raise ValueError(
                f'{part.name}: has SMPL parameters and no vertices: say which body they '
                "are of, body_model='path/to/SMPL_NEUTRAL.pkl' (on the command line, "
                "--body-model); 'free_body' is the free one"
            )
        if not len(rows):
            return
        if part.vertices is not None:
            self._regressed.append((frames, self._from_vertices(part, rows, names)))
        else:
            self._parameters.append((frames, rows, self._checked(part, rows, names)))

    def compute(self, order: Sequence[int] | Array) -> Array:  # (len(order), R, J, 3), meters
        """Return the joints of all added frames.

        Args:
            order: Numbers of all added frames, in the order of the result. The same order gives the
                same joints to the last bit.
        """
        rows = np.asarray(order, dtype=np.int64)
        place = np.full(int(rows.max(initial=-1)) + 1, -1)
        place[rows] = np.arange(len(rows))
        joints = self._array(len(order))
        for frames, regressed in self._regressed:
            for piece in pieces(regressed):
                joints[place[frames[piece]]] = regressed[piece]
                release(joints)
        for places, members, rows in self._by_representation(place):
            with Progress(len(places), 'bodies', _to_stderr, show=self.progress) as progress:
                for start in range(0, len(places), _BODIES):
                    chunk = slice(start, start + _BODIES)
                    parameters = self._gathered(members[chunk], rows[chunk])
                    joints[places[chunk]] = self.joints.from_parameters(parameters)
                    release(joints)
                    progress(min(start + _BODIES, len(places)))
        return joints

    def _array(self, count: int) -> Array:
        shape = (count, len(self.joints.names), len(self.joints.joint_names), 3)
        return working_array(shape)

    def _from_vertices(
        self, part: Predictions, rows: Array, names: Sequence[str]
    ) -> Array:  # (n, R, J, 3), meters
        assert part.vertices is not None
        regressed = self._array(len(rows))
        with Progress(len(rows), 'meshes', _to_stderr, show=self.progress) as progress:
            for start in range(0, len(rows), _CHUNK):
                chunk = slice(start, start + _CHUNK)
                try:
                    selected = self.joints.select(list(part.vertices[rows[chunk]]))
                except ValueError as error:
                    raise ValueError(f'{part.name}: vertices: {error}') from error
                check_finite(names[chunk], 'vertices', selected)
                check_extent(names[chunk], 'vertices', selected * self.scale, hint_at_unit())
                regressed[chunk] = self.joints.from_selected(selected, self.scale)
                release(part.vertices, regressed)
                progress(min(start + _CHUNK, len(rows)))
        return regressed

    def _checked(self, part: Predictions, rows: Array, names: Sequence[str]) -> dict[str, Array]:
        """Return the parameters of all bodies, after checking those of some."""
        assert part.global_orient is not None and part.body_pose is not None
        assert part.betas is not None
        if part.betas.shape[1] != self.joints.num_betas:
            raise ValueError(
                f'{part.name}: betas: found {part.betas.shape[1]} for each body, expected the '
                f'{self.joints.num_betas} of the body model'
            )
        parameters = {
            'global_orient': part.global_orient,
            'body_pose': part.body_pose,
            'betas': part.betas,
        }
        for name in self.joints.further_arguments:
            if getattr(part, name) is not None:
                parameters[name] = getattr(part, name)
        if self.absolute:
            if part.transl is None:
                raise DataError(
                    f'{part.name}: has no transl, and a protocol without a root compares '
                    'absolute positions'
                )
            parameters['transl'] = part.transl
        for name, values in parameters.items():
            for start in range(0, len(rows), _BODIES):
                chunk = slice(start, start + _BODIES)
                check_finite(names[chunk], name, take(values, rows[chunk]))
        return parameters

    def _gathered(self, members: Array, rows: Array) -> dict[str, Array]:
        """Return the parameters of rows of the added files, as the body takes them."""
        parameters: dict[str, Array] = {}
        for member in np.unique(members):
            chosen = members == member
            for name, values in self._parameters[member][2].items():
                if name not in parameters:
                    dtype = np.float64 if name == 'transl' else values.dtype
                    parameters[name] = np.empty((len(rows), *values.shape[1:]), dtype)
                parameters[name][chosen] = take(values, rows[chosen])
        parameters['global_orient'] = parameters['global_orient'][:, None]
        if 'transl' in parameters:
            parameters['transl'] *= self.scale
        return parameters

    def _by_representation(self, place: Array) -> Iterator[tuple[Array, Array, Array]]:
        """Yield ascending positions, and the file and row of the body at each position.

        Files with the same rotation format are joined.
        """
        groups: dict[tuple[Any, ...], list[int]] = {}
        for number, (_, _, parameters) in enumerate(self._parameters):
            shapes = tuple(values.shape[1:] for values in parameters.values())
            groups.setdefault(shapes, []).append(number)
        for numbers in groups.values():
            parts = [self._parameters[number] for number in numbers]
            places = np.concatenate([place[frames] for frames, _, _ in parts])
            members = np.repeat(numbers, [len(rows) for _, rows, _ in parts])
            rows = np.concatenate([rows for _, rows, _ in parts])
            order = np.argsort(places)
            yield places[order], members[order], rows[order]


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
