"""The interface of energy terms, and the posed bodies that they are called with.

Decisions:

- Everything in :class:`PosedBodies` has one row per frame and is in that frame's camera frame. A
  term does not know which variables frames share.
- That frame is the calibrated camera's, as the annotated 3D joints' is. Refinement may correct the
  camera: what the image shows is compared with ``outline`` and ``joints_2d``, which are seen by the
  corrected camera. The annotation's intrinsics are ``observed.camera``.
- Joints, silhouette and the discriminators' outputs are computed when a term first asks for them,
  once per iteration.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from torch import Tensor, nn

from mmjrr.geometry import PerspectiveCamera
from mmjrr.rendering.mask_cells_energy import mask_cells_energy
from mmjrr.rendering.silhouette_energy import silhouette_energy

if TYPE_CHECKING:
    from mmjrr.refinement.corrections import RigidMotion
    from mmjrr.refinement.observations import Observations
    from mmjrr.refinement.variables import Sharing
    from mmjrr.regressors import JointRegressor
    from mmjrr.rendering.silhouette_renderer import SilhouetteRenderer


class Discriminator(Protocol):
    """A model of the plausibility of poses and shapes, such as ``FitDiscriminator``."""

    def judge(self, rotations: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
        """Return the plausibility (B, K) of poses (B, 24, 3, 3) and of shapes (B, num_betas)."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return the weights."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Return the weights with their names."""


class PosedBodies:
    """Bodies of a batch of frames at one iteration, with joints and silhouettes on demand.

    Args:
        rotations: (B, 24, 3, 3), the global orientation first; body to camera frame.
        betas: (B, K), shape coefficients.
        transl: (B, 3), meters, camera frame.
        vertices: (B, V, 3), meters, camera frame.
        camera: Cameras of the crops, with corrected intrinsics.
        image_size: Height and width of the crops in pixels.
        regressor: Joint regressor of ``joints``.
        renderer: Renderer of ``silhouette``, or None.
        discriminator: Model of ``plausibility``, or None.
        outline: (B, V, 3), vertices of what the silhouette is drawn from, such as the clothed body,
            in the frame of the camera with corrected extrinsics. Default: None, ``vertices``.
        to_image: Motion from the frame of the calibrated camera to that of the camera with
            corrected extrinsics. Default: None, they are the same.
        label_shift: (B, J, 3), meters, camera frame: how far the labels lie off the regressed
            joints. Default: None, which is zero.
        support: (B, S, 3), the vertices of the regressor's support. Default: None, which takes
            them from ``vertices``.
    """

    def __init__(
        self,
        rotations: Tensor,
        betas: Tensor,
        transl: Tensor,
        vertices: Tensor,
        camera: PerspectiveCamera,
        image_size: tuple[int, int],
        regressor: JointRegressor | None = None,
        renderer: SilhouetteRenderer | None = None,
        discriminator: Discriminator | None = None,
        outline: Tensor | None = None,
        to_image: RigidMotion | None = None,
        label_shift: Tensor | None = None,
        support: Tensor | None = None,
    ) -> None:
        self.rotations = rotations
        self.betas = betas
        self.transl = transl
        self.vertices = vertices
        self.outline = vertices if outline is None else outline
        self.camera = camera
        self.image_size = image_size
        self._support = vertices if support is None else support
        self._regressor = regressor
        self._renderer = renderer
        self._discriminator = discriminator
        self._label_shift = label_shift
        self._to_image = to_image
        # Not functools.cached_property: before Python 3.12 its lock would serialize the threads
        # that refine parts of a batch.
        self._joints: Tensor | None = None
        self._silhouette: Tensor | None = None
        self._plausibility: tuple[Tensor, Tensor] | None = None

    @property
    def joints(self) -> Tensor:  # (B, J, 3), meters, camera frame
        """Joints where the labels are expected, in their order: regressed, and shifted."""
        if self._joints is None:
            if self._regressor is None:
                raise ValueError('joints: there is no regressor')
            joints = self._regressor(self._support)
            self._joints = joints if self._label_shift is None else joints + self._label_shift
        return self._joints

    @property
    def joints_2d(self) -> Tensor:  # (B, J, 2), pixels of the crop
        """Joints in the image, through the corrected camera."""
        joints = self.joints if self._to_image is None else self._to_image.apply(self.joints)
        return self.camera.project(joints)

    @property
    def silhouette(self) -> Tensor:  # (B, H, W), coverage in [0, 1]
        """Rendered silhouettes."""
        if self._silhouette is None:
            if self._renderer is None:
                raise ValueError('silhouette: there is no renderer')
            self._silhouette = self._renderer(self.outline, self.camera)
        return self._silhouette

    def silhouette_energy(
        self,
        mask: Tensor,  # (B, H, W)
        levels: tuple[int, ...],
        weight: Tensor | None = None,  # (B, H, W)
    ) -> Tensor:  # (B,)
        """Compare silhouettes with masks, as ``silhouette_energy`` of ``mmjrr.rendering`` does."""
        if self._silhouette is None and self._renderer is not None:
            return self._renderer.compare(self.outline, self.camera, mask, levels, weight)
        return silhouette_energy(self.silhouette, mask, levels, weight)

    def mask_cells_energy(
        self,
        cells: Tensor,  # (B, N, N)
        box: Tensor,  # (B, 4)
        weight: Tensor | None = None,  # (B, H, W)
        blur: float = 0.0,
    ) -> Tensor:  # (B,)
        """Compare silhouettes with masks in cells, as the function of ``mmjrr.rendering`` does."""
        if self._silhouette is None and self._renderer is not None:
            return self._renderer.compare_in_cells(
                self.outline, self.camera, cells, box, weight, blur
            )
        return mask_cells_energy(self.silhouette, cells, box, weight, blur)

    @property
    def rendered(self) -> Tensor | None:  # (B, H, W)
        """Silhouettes if a term has asked for them, else None."""
        return self._silhouette

    @property
    def plausibility(self) -> tuple[Tensor, Tensor]:  # (B, 25) and (B, 1), in (0, 1)
        """Outputs of the discriminators for poses and shapes."""
        if self._plausibility is None:
            if self._discriminator is None:
                raise ValueError('plausibility: there is no discriminator')
            self._plausibility = self._discriminator.judge(self.rotations, self.betas)
        return self._plausibility


class EnergyTerm(nn.Module, ABC):
    """A term of the energy; a subclass implements :meth:`forward`.

    Parts of a batch are evaluated in several threads at once, so :meth:`forward` must not change
    the term.

    Args:
        name: Name in configs, logs and result files. Default: the class's name.
        weight: Fixed weight. Default: None, which balances the term (or to the class's
            ``default_weight`` if neither ``weight`` nor ``scale`` is given).
        scale: Weighted mean over the first batch at the first iteration, by which a balanced term's
            weight is chosen. Default: 1.

    Attributes:
        requires: What the term needs: ``'silhouette'`` (a renderer), ``'mask'``, ``'plausibility'``
            (a discriminator), ``'initial_fits'`` (of an estimator); and ``'joints_2d'`` and
            ``'outline'`` of the bodies. Corrections of cameras and outlines are refused if no term
            needs what depends on them.
        couples_frames: Whether a frame's value depends on other frames of the batch. Such a batch
            is not split.
        default_weight: Weight if none is configured; None balances. A term that can be zero on the
            first batch cannot be balanced and needs a weight.

    Raises:
        ValueError: A weight or scale is negative or not finite, or both are given.

    Example:
        >>> import torch
        >>> class SmallShapes(EnergyTerm):
        ...     def forward(self, bodies, observed):
        ...         return bodies.betas.square().sum(1)
        >>> SmallShapes(weight=0.1).weight
        0.1
    """

    requires: ClassVar[tuple[str, ...]] = ()
    couples_frames: ClassVar[bool] = False
    default_weight: ClassVar[float | None] = None

    def __init__(
        self, name: str | None = None, weight: float | None = None, scale: float | None = None
    ) -> None:
        super().__init__()
        if weight is not None and scale is not None:
            raise ValueError(
                f'scale, weight: found {scale} and {weight}, expected only one of the two'
            )
        for key, value in (('weight', weight), ('scale', scale)):
            if value is not None and not 0 <= value < float('inf'):
                raise ValueError(f'{key}: found {value:g}, expected 0 or a positive number')
        if weight is None and scale is None:
            weight = self.default_weight
        self.name = name or type(self).__name__
        self.weight = None if weight is None else float(weight)
        self.scale = 1.0 if scale is None else float(scale)

    @abstractmethod
    def forward(
        self,
        bodies: PosedBodies,  # B frames
        observed: Observations,  # the same
    ) -> Tensor:  # (B,)
        """Return the unweighted value of each frame."""

    def prepare(self, observed: Observations) -> Observations:
        """Return observations with what the term computes from them once per batch.

        Only this term's :meth:`forward` receives them.
        """
        return observed

    def estimate(self, observed: Observations, moment: Tensor) -> dict[str, Any]:
        """Estimate what the term needs to know of the data, from the first frames of a run.

        The values hold for the whole run. They are JSON values, and reach the term through
        :meth:`set_estimates`.

        Args:
            observed: Observations of the frames.
            moment: Number of the moment of each frame.
        """
        return {}

    def set_estimates(self, values: Mapping[str, Any]) -> None:
        """Take what :meth:`estimate` returned, in this process or before a run was resumed."""

    @property
    def has_weight(self) -> bool:
        """Whether the term's weight is above 0."""
        return (self.scale if self.weight is None else self.weight) > 0

    def check_sharing(self, sharing: Sharing) -> None:
        """Refuse levels of variables with which the term cannot be used, with a ValueError."""

    def check_image_size(self, image_size: tuple[int, int]) -> None:
        """Refuse options that do not fit images of this (height, width), with a ValueError."""

    def check_batch(self, observed: Observations) -> None:
        """Refuse a first batch on which the term has no effect, with a ValueError."""

    def check_balance(self, observed: Observations) -> None:
        """Refuse frames that do not show how large the term is, with a ValueError."""

    def extra_repr(self) -> str:
        """Return the settings that PyTorch prints."""
        chosen = f'scale={self.scale:g}' if self.weight is None else f'weight={self.weight:g}'
        return f'name={self.name!r}, {chosen}'
