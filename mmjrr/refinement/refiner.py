"""Minimization of the energy over the parameters of a batch of fits (paper, Section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from mmengine.dist import all_reduce
from torch import Tensor

from mmjrr.geometry import (
    PerspectiveCamera,
    axis_angle_to_matrix,
    fit_translation,
    matrix_to_axis_angle,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
)

from .energy import EnergyTerms, FitEnergy
from .observations import Observations
from .terms import PosedBodies

if TYPE_CHECKING:
    from mmjrr.body_models import SMPL
    from mmjrr.models.discriminators import FitDiscriminator
    from mmjrr.regressors import JointRegressor
    from mmjrr.rendering.base import SilhouetteRenderer


#: Smallest part of a batch, in fits, that a CPU thread refines.
SMALLEST_PART = 8
#: Variables that Adam optimizes.
VARIABLES = ('pose_6d', 'betas', 'transl')


@dataclass
class RefinedFits:
    """Fits before and after refinement, with the terms and silhouette overlaps of both."""

    init: dict[str, Tensor]  # global_orient (B, 3), body_pose (B, 69), betas (B, 10), transl (B, 3)
    refined: dict[str, Tensor]
    terms_init: dict[str, Tensor]  # term -> (B,), unweighted
    terms_refined: dict[str, Tensor]
    iou_init: Tensor | None  # (B,), soft intersection over union with the mask
    iou_refined: Tensor | None
    weights: dict[str, float] = field(default_factory=dict)  # term -> weight in the energy


class FitRefiner:
    """A minimizer of the energy: Adam over 6D rotations, shape and translation.

    Args:
        body: Body model.
        regressor: Joint regressor used while refining (J_spin), in the order of the keypoints.
        renderer: Silhouette renderer of the body's faces, whose image size is the crop's; None if
            the silhouette term is off.
        energy: Terms of the energy.
        discriminator: Discriminator of poses and shapes; required if an adversarial term is on.
        num_iters: Number of Adam steps. Defaults to 100.
        lr: Learning rate. Defaults to 1e-2.
        betas: Adam's coefficients beta1 and beta2. Defaults to (0.9, 0.999).
        lr_mult: Factors on ``lr`` by variable (:data:`VARIABLES`). Adam moves a coordinate by at
            most about ``lr`` per step, so 100 steps of 1e-2 change a shape coefficient by at most
            about one unit. Defaults to 1 for each.
        init_translation: Initial translation. ``'3d'`` (default): the one that fits the regressed
            joints to the annotated 3D joints, so the depth is the annotation's. ``'2d'``: the one
            that fits their projections to the annotated 2D joints in closed form (the authors use
            gradient steps); errors of the initial shape then become errors of depth. ``None``: the
            initial fits' translation.

    Raises:
        ValueError: An argument is invalid, or an enabled term lacks its renderer or discriminator.
    """

    def __init__(
        self,
        body: SMPL,
        regressor: JointRegressor,
        renderer: SilhouetteRenderer | None,
        energy: FitEnergy,
        discriminator: FitDiscriminator | None = None,
        num_iters: int = 100,
        lr: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        lr_mult: Mapping[str, float] | None = None,
        init_translation: str | None = '3d',
    ) -> None:
        if num_iters < 1:
            raise ValueError(f'num_iters: found {num_iters}, expected at least 1')
        for quantity, source in (('silhouette', renderer), ('plausibility', discriminator)):
            names = energy.requires(quantity)
            if names and source is None:
                missing = 'renderer' if quantity == 'silhouette' else 'discriminator'
                raise ValueError(f'terms {names} are on, but there is no {missing}')
        if renderer is not None:
            energy.check_image_size(renderer.image_size)
        self.body = body
        self.regressor = regressor
        self.renderer = renderer
        self.energy = energy
        self.discriminator = discriminator
        self.num_iters = num_iters
        self.lr = lr
        self.betas = betas
        self.lr_mult = dict(lr_mult or {})
        unknown = sorted(set(self.lr_mult) - set(VARIABLES))
        if unknown:
            raise ValueError(f'lr_mult: unknown {unknown}, expected some of {list(VARIABLES)}')
        if init_translation not in ('3d', '2d', None):
            raise ValueError(
                f"init_translation: found {init_translation!r}, expected '3d', '2d' or None"
            )
        self.init_translation = init_translation

    def refine(
        self,
        init: dict[str, Tensor],
        observed: Observations,
        weights: dict[str, float] | None = None,
    ) -> RefinedFits:
        """Refine a batch.

        Args:
            init: ``global_orient`` (B, 3), ``body_pose`` (B, 69), ``betas`` (B, 10) and ``transl``
                (B, 3), axis-angle and meters, in the camera frame.
            observed: Annotations and masks to fit to.
            weights: Weights of the terms. ``None`` (default) balances them on this batch, and in a
                distributed run on the batches of all processes: then all of them must pass
                ``None``.

        Raises:
            FloatingPointError: If the energy is not finite at the first or last iteration; the
                message names the term and the samples.
        """
        with torch.no_grad():
            rotations = axis_angle_to_matrix(
                torch.cat([init['global_orient'], init['body_pose']], 1).unflatten(1, (-1, 3))
            )
            transl = init['transl']
            if self.init_translation is not None:
                transl = self._fitted_translation(rotations, init['betas'], transl, observed)
            start = dict(
                pose_6d=matrix_to_rotation_6d(rotations), betas=init['betas'].clone(), transl=transl
            )
            if weights is None:
                self.energy.check_batch(observed)
            first = self._evaluate(start, observed)
            terms_init = first.values
            self._check_finite(terms_init, 'first')
        if weights is None:
            weights = self.energy.balance(_means_over_processes(terms_init))
        frozen = self._freeze_discriminator()
        try:
            refined = self._in_parts(start, observed, weights)
        finally:
            self._unfreeze_discriminator(frozen)
        before = {**{k: init[k] for k in ('global_orient', 'body_pose', 'betas')}, 'transl': transl}
        after = self._as_axis_angle(refined)
        with torch.no_grad():
            last = self._evaluate(refined, observed)
            self._check_finite(last.values, 'last')
        return RefinedFits(
            init=before,
            refined=after,
            terms_init=terms_init,
            terms_refined=last.values,
            iou_init=self._iou(first.silhouette, before, observed),
            iou_refined=self._iou(last.silhouette, after, observed),
            weights=weights,
        )

    def _in_parts(
        self, start: dict[str, Tensor], observed: Observations, weights: dict[str, float]
    ) -> dict[str, Tensor]:
        """Minimize from ``start``; on a CPU, refine parts of the batch in parallel.

        Most operations of an iteration are too small to be worth splitting across threads. On a CPU
        the batch is therefore split across PyTorch's threads, at least ``SMALLEST_PART`` fits each,
        unless a term couples frames.
        """
        if start['transl'].device.type != 'cpu':
            return self._without_host_sync(start, observed, weights)
        count, threads = len(start['transl']), torch.get_num_threads()
        parts = min(threads, max(count // SMALLEST_PART, 1))
        if self.energy.couples_frames:
            parts = 1
        if parts == 1:
            return self._minimize(start, observed, weights)
        cuts = [slice(count * i // parts, count * (i + 1) // parts) for i in range(parts)]
        try:
            with ThreadPoolExecutor(
                parts, initializer=torch.set_num_threads, initargs=(threads // parts,)
            ) as pool:
                refined_parts = list(
                    pool.map(
                        lambda rows: self._minimize(
                            {name: value[rows] for name, value in start.items()},
                            observed[rows],
                            weights,
                        ),
                        cuts,
                    )
                )
        finally:
            torch.set_num_threads(threads)
        return {name: torch.cat([part[name] for part in refined_parts]) for name in start}

    def _without_host_sync(
        self, start: dict[str, Tensor], observed: Observations, weights: dict[str, float]
    ) -> dict[str, Tensor]:
        """Queue all iterations on a GPU without a host sync, and check them once at the end."""
        if not self.energy.requires('silhouette') or observed.mask is None:
            return self._minimize(start, observed, weights)
        assert self.renderer is not None
        with torch.no_grad():
            vertices = self._vertices(start, rotation_6d_to_matrix(start['pose_6d']))
        with self.renderer.without_host_sync(vertices, observed.camera) as all_valid:
            refined = self._minimize(start, observed, weights)
        return refined if all_valid() else self._minimize(start, observed, weights)

    def _minimize(
        self, start: dict[str, Tensor], observed: Observations, weights: dict[str, float]
    ) -> dict[str, Tensor]:
        variables = {name: value.clone().requires_grad_() for name, value in start.items()}
        optimizer = torch.optim.Adam(
            [
                dict(params=[value], lr=self.lr * self.lr_mult.get(name, 1.0))
                for name, value in variables.items()
            ],
            betas=self.betas,
            foreach=True,
        )
        for _ in range(self.num_iters):
            terms = self._evaluate(variables, observed)
            optimizer.zero_grad(set_to_none=True)
            terms.total(weights).backward()
            optimizer.step()
        return {name: value.detach() for name, value in variables.items()}

    def silhouette(self, fits: dict[str, Tensor], camera: PerspectiveCamera) -> Tensor:
        """Render the silhouettes (B, H, W) of fits in axis-angle, without gradients.

        Raises:
            ValueError: There is no renderer.
        """
        if self.renderer is None:
            raise ValueError('silhouette: there is no renderer')
        with torch.no_grad():
            return self.renderer(self.body(**fits).vertices, camera)

    def _evaluate(self, variables: dict[str, Tensor], observed: Observations) -> EnergyTerms:
        rotations = rotation_6d_to_matrix(variables['pose_6d'])
        bodies = PosedBodies(
            rotations=rotations,
            betas=variables['betas'],
            transl=variables['transl'],
            vertices=self._vertices(variables, rotations),
            camera=observed.camera,
            image_size=(224, 224) if self.renderer is None else self.renderer.image_size,
            regressor=self.regressor,
            renderer=self.renderer,
            discriminator=self.discriminator,
        )
        terms: EnergyTerms = self.energy(bodies, observed)
        return terms

    def _vertices(self, variables: Mapping[str, Tensor], rotations: Tensor) -> Tensor:  # (B, V, 3)
        return self.body(
            global_orient=rotations[:, :1],
            body_pose=rotations[:, 1:],
            betas=variables['betas'],
            transl=variables['transl'],
        ).vertices

    def _fitted_translation(
        self, rotations: Tensor, betas: Tensor, transl: Tensor, observed: Observations
    ) -> Tensor:  # (B, 3)
        """Fit the translation that brings the regressed joints onto the annotated ones."""
        untranslated = dict(betas=betas, transl=torch.zeros_like(transl))
        joints = self.regressor(self._vertices(untranslated, rotations))
        if self.init_translation == '2d':
            fitted = fit_translation(
                joints, observed.keypoints_2d, observed.keypoints_2d_weight, observed.camera
            )
            usable = fitted[:, 2] > 0  # False for NaN: fewer than two distinct points
        else:
            weight = observed.keypoints_3d_weight[..., None]
            total = weight.sum(1)
            offset = torch.where(
                weight > 0, observed.keypoints_3d - joints, torch.zeros(()).to(joints)
            )
            fitted = (weight * offset).sum(1) / total.clamp_min(1e-12)
            usable = (total[:, 0] > 0) & (fitted[:, 2] > 0)
        return torch.where(usable[:, None], fitted, transl)

    def _iou(
        self, silhouette: Tensor | None, fits: dict[str, Tensor], observed: Observations
    ) -> Tensor | None:
        if observed.mask is None or self.renderer is None:
            return None
        if silhouette is None:  # the silhouette term is off
            silhouette = self.silhouette(fits, observed.camera)
        return soft_iou(silhouette, observed.mask)

    @staticmethod
    def _as_axis_angle(variables: dict[str, Tensor]) -> dict[str, Tensor]:
        pose = matrix_to_axis_angle(rotation_6d_to_matrix(variables['pose_6d']))
        return dict(
            global_orient=pose[:, 0],
            body_pose=pose[:, 1:].flatten(1),
            betas=variables['betas'],
            transl=variables['transl'],
        )

    @staticmethod
    def _check_finite(terms: dict[str, Tensor], when: str) -> None:
        for name, value in terms.items():
            bad = torch.nonzero(~torch.isfinite(value)).flatten().tolist()
            if bad:
                raise FloatingPointError(
                    f"refinement: the term '{name}' is not finite at the {when} iteration, "
                    f'samples {bad} of the batch'
                )

    def _freeze_discriminator(self) -> list[torch.nn.Parameter]:
        """Switch off the gradients of the discriminator's weights; return those that had any."""
        if self.discriminator is None:
            return []
        frozen = [p for p in self.discriminator.parameters() if p.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(False)
        return frozen

    @staticmethod
    def _unfreeze_discriminator(frozen: list[torch.nn.Parameter]) -> None:
        for parameter in frozen:
            parameter.requires_grad_(True)


def _means_over_processes(terms: dict[str, Tensor]) -> dict[str, float]:
    """Average the terms over the batch and, in a distributed run, over all processes' batches."""
    means = torch.stack([value.mean() for value in terms.values()])
    all_reduce(means, op='mean')
    return dict(zip(terms, means.tolist(), strict=True))


def soft_iou(a: Tensor, b: Tensor) -> Tensor:  # (B, H, W) twice -> (B,)
    """Return the intersection over union of coverages: sum of minima over sum of maxima."""
    union = torch.maximum(a, b).flatten(1).sum(1)
    return torch.minimum(a, b).flatten(1).sum(1) / union.clamp_min(1e-12)
