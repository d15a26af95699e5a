"""Minimization of the energy over the variables of fits (paper, Section 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from math import cos, inf, pi
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmjrr.errors import check_count
from mmjrr.geometry import (
    PerspectiveCamera,
    axis_angle_to_matrix,
    fit_translation,
    matrix_to_axis_angle,
)
from mmjrr.regressors.label_offsets import part_index_of, part_rotations, turned

from .corrections import CORRECTIONS
from .energy import EnergyTerms, FitEnergy
from .observations import Observations
from .repeated_step import repeat_step
from .terms import PosedBodies
from .variables import (
    VARIABLES,
    FitVariables,
    FrameBodies,
    FrameGroups,
    Selection,
    Sharing,
    Values,
    prior_energy,
    share_rows,
)

if TYPE_CHECKING:
    from mmjrr.body_models import SMPL
    from mmjrr.regressors import JointRegressor
    from mmjrr.rendering.silhouette_renderer import SilhouetteRenderer

    from .terms.energy_term import Discriminator


#: Smallest part of a batch, in fits, that a CPU thread refines.
SMALLEST_PART = 8
#: Largest accepted size of an initial fit's shape coefficients, which are in standard deviations of
#: people's shapes. If these are normally distributed, nobody alive is beyond 7.
MAX_BETA = 10.0
#: Default factors on the learning rate.
LR_MULT = {name: correction.lr_mult for name, correction in CORRECTIONS.items()}
#: Default standard deviations of the priors.
PRIOR = {name: correction.deviation for name, correction in CORRECTIONS.items()}


@dataclass
class RefinedFits:
    """Fits before and after refinement, with the terms and silhouette overlaps of both."""

    init: dict[str, Tensor]  # global_orient (B, 3), body_pose (B, 69), betas (B, 10), transl (B, 3)
    refined: dict[str, Tensor]
    terms_init: dict[str, Tensor]  # term -> (B,), unweighted
    terms_refined: dict[str, Tensor]
    #: (B,), soft intersection over union with the mask; NaN where the mask has no foreground.
    iou_init: Tensor | None
    iou_refined: Tensor | None
    weights: dict[str, float] = field(default_factory=dict)  # term -> weight in the energy
    values: Values = field(default_factory=dict)  # refined variables, one row for each group


@dataclass
class _Evaluation:
    """Energy terms, overlaps and fits of frames at given values of the variables."""

    terms: dict[str, Tensor]  # term -> (B,), unweighted
    iou: Tensor | None  # (B,)
    fits: dict[str, Tensor]  # axis-angle, in the frames' cameras


class FitRefiner:
    """A minimizer of the energy: Adam over 6D rotations, shape and translation.

    Args:
        body: Body model.
        regressor: Joint regressor used while refining (J_spin), in the order of the keypoints.
        renderer: Silhouette renderer of the body's faces, whose image size is the crop's; None if
            the silhouette term is off.
        energy: Terms of the energy.
        discriminator: Discriminator of poses and shapes; required if an adversarial term is on.
        num_iters: Number of Adam steps. Default: 100.
        lr: Learning rate, positive. Default: 1e-2.
        betas: Adam's coefficients beta1 and beta2, from 0 to below 1. Default: (0.9, 0.999).
        lr_mult: Factors on ``lr`` by variable (:data:`~.variables.VARIABLES`). Adam moves a
            coordinate by at most about ``lr`` per step, so 100 steps of 1e-2 change a shape
            coefficient by at most about one unit. 0 keeps a variable at its start. Default:
            :data:`LR_MULT`, and 1 for variables that are not listed.
        eta_min_ratio: Ratio of the last to the first learning rate, between which it follows a
            cosine. Default: 1, a constant rate.
        init_translation: Initial translation. ``'3d'`` (default): the one that fits the regressed
            joints to the annotated 3D joints, so the depth is the annotation's. ``'2d'``: the one
            that fits their projections to the annotated 2D joints in closed form (the authors use
            gradient steps); errors of the initial shape then become errors of depth. ``None``: the
            initial fits' translation.
        share: Level of each variable, as in :class:`~.variables.Sharing`. Default: None, each
            frame has its own.
        prior: Standard deviations of variables around zero. Their squares in these units are
            added to the energy, which sums over frames. Infinity switches a prior off. Default:
            :data:`PRIOR`; no other variable can have one.
        chunk_size: Largest number of frames whose bodies are computed at once when frames are
            refined jointly. Default: 64.
        cuda_graph: Whether iterations on a GPU replay a CUDA graph, which needs energy terms that
            compute the same operations in each iteration. Default: True.

    Raises:
        ValueError: An argument is invalid, or an enabled term has no renderer or discriminator.
    """

    def __init__(
        self,
        body: SMPL,
        regressor: JointRegressor,
        renderer: SilhouetteRenderer | None,
        energy: FitEnergy,
        discriminator: Discriminator | None = None,
        num_iters: int = 100,
        lr: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        lr_mult: Mapping[str, float] | None = None,
        eta_min_ratio: float = 1.0,
        init_translation: str | None = '3d',
        share: Mapping[str, str] | None = None,
        prior: Mapping[str, float] | None = None,
        chunk_size: int = 64,
        cuda_graph: bool = True,
    ) -> None:
        check_count('num_iters', num_iters)
        check_count('chunk_size', chunk_size)
        _check_rates(lr, betas, lr_mult or {})
        if not 0 <= eta_min_ratio <= 1:
            raise ValueError(f'eta_min_ratio: found {eta_min_ratio}, expected 0 to 1')
        for quantity, source in (('silhouette', renderer), ('plausibility', discriminator)):
            names = energy.requires(quantity)
            if names and source is None:
                missing = 'renderer' if quantity == 'silhouette' else 'discriminator'
                raise ValueError(f'terms {names} are on, but there is no {missing}')
        if renderer is not None:
            energy.check_image_size(renderer.image_size)
        if init_translation not in ('3d', '2d', None):
            raise ValueError(
                f"init_translation: found {init_translation!r}, expected '3d', '2d' or None"
            )
        for option, factors, expected in (
            ('lr_mult', lr_mult, VARIABLES), ('prior', prior, PRIOR),
        ):  # fmt: skip
            unknown = sorted(set(factors or {}) - set(expected))
            if unknown:
                raise ValueError(f'{option}: unknown {unknown}, expected some of {list(expected)}')
        for name, deviation in (prior or {}).items():
            if not deviation > 0:
                raise ValueError(f'prior: {name}: found {deviation}, expected a number above 0')
        self.body = body
        self.regressor = regressor
        self.renderer = renderer
        self.energy = energy
        self.discriminator = discriminator
        self.num_iters = num_iters
        self.lr = lr
        self.betas = betas
        self.lr_mult = {**LR_MULT, **(lr_mult or {})}
        self.eta_min_ratio = eta_min_ratio
        self.init_translation = init_translation
        self.sharing = sharing_of(share)
        self.prior = {**PRIOR, **(prior or {})}
        self.chunk_size = chunk_size
        self.cuda_graph = cuda_graph

    def refine(
        self,
        init: Mapping[str, Tensor],
        observed: Observations,
        weights: Mapping[str, float] | None = None,
        groups: FrameGroups | None = None,
    ) -> RefinedFits:
        """Refine a batch, whose moments do not influence one another.

        Args:
            init: ``global_orient`` (B, 3), ``body_pose`` (B, 69), ``betas`` (B, 10) and ``transl``
                (B, 3), axis-angle and meters, in the camera frame. Optionally fixed
                :data:`~.corrections.CORRECTIONS`, each (B, size).
            observed: Annotations and masks to fit to.
            weights: Weights of the terms. ``None`` (default) balances them on this batch.
            groups: Moment, subject and camera of each frame; required if frames share a variable.

        Raises:
            FloatingPointError: The energy is not finite at the first or last iteration; the
                message names the term and the samples.
            ValueError: Frames of different moments share a variable: use :meth:`refine_jointly`.
                Or a term has no effect on this batch, or cannot be balanced on it; or a shape
                coefficient is beyond :data:`MAX_BETA`, or a body behind the camera.
        """
        if self.sharing.couples_moments:
            raise ValueError(
                f'refine: {self.sharing} couples the frames of a subject or camera; refine all of '
                'them with refine_jointly'
            )
        observed = self.energy.prepare(observed)
        variables = self._variables(init, groups)
        everything = variables.all_frames()
        if weights is None:
            self.energy.check_batch(observed)
        with torch.no_grad():
            start, before = self._start(variables, init, observed)
            first = self._evaluate(variables, start, everything, observed)
        self._check_finite(first.terms, 'first')
        if weights is None:
            weights = self.energy.balance(_means(first.terms), observed)
        with self._frozen_discriminator():
            values = self._in_parts(variables, start, observed, weights)
        with torch.no_grad():
            last = self._evaluate(variables, values, everything, observed)
        self._check_finite(last.terms, 'last')
        return self._result(before, first, last, weights, values)

    def refine_jointly(
        self,
        init: Mapping[str, Tensor],
        observed: Observations,
        weights: Mapping[str, float],
        groups: FrameGroups | None = None,
        start: Values | None = None,
        on_step: Callable[[int], Any] = lambda step: None,
        names: Sequence[str] | None = None,
    ) -> RefinedFits:
        """Refine many frames as one problem, whose gradients are accumulated over chunks.

        Args:
            init: As in :meth:`refine`.
            observed: As in :meth:`refine`. Frames of a moment must be neighbors.
            weights: Weights of the terms.
            groups: Moment, subject and camera of each frame.
            start: Values of an earlier :class:`RefinedFits` of the same frames to start from.
                Default: None, which starts from ``init``.
            on_step: A function that is called with the number of finished Adam steps.
            names: Names of the frames, which errors list. Default: None, errors have numbers only.

        Raises:
            FloatingPointError, ValueError: As in :meth:`refine`.
        """
        observed = self.energy.prepare(observed)
        variables = self._variables(init, groups)
        chunks = self._chunks(variables, observed)
        with self._pool(len(chunks), observed) as pool, self._frozen_discriminator():
            with torch.no_grad():
                initial, before = self._start(variables, init, observed)
            values = initial if start is None else {**initial, **start}
            first = self._evaluate_chunks(variables, values, chunks, pool, names)
            self._check_finite(first.terms, 'first', names)
            values = self._minimize_jointly(
                variables, values, chunks, weights, pool, on_step, names
            )
            last = self._evaluate_chunks(variables, values, chunks, pool, names)
            self._check_finite(last.terms, 'last', names)
        return self._result(before, first, last, weights, values)

    def initial_terms(
        self,
        init: Mapping[str, Tensor],
        observed: Observations,
        groups: FrameGroups | None = None,
    ) -> dict[str, float]:
        """Return each term's unweighted mean over these frames, at the start of refinement.

        Arguments are those of :meth:`refine_jointly`.

        Raises:
            FloatingPointError, ValueError: As in :meth:`refine`.
        """
        observed = self.energy.prepare(observed)
        variables = self._variables(init, groups)
        chunks = self._chunks(variables, observed)
        with self._pool(len(chunks), observed) as pool, self._frozen_discriminator():
            with torch.no_grad():
                start, _ = self._start(variables, init, observed)
            first = self._evaluate_chunks(variables, start, chunks, pool)
        self._check_finite(first.terms, 'first')
        return _means(first.terms)

    def without_sharing(self) -> FitRefiner:
        """Return the refiner of frames that share nothing."""
        alone = copy(self)
        alone.sharing = Sharing()
        return alone

    # ------------------------------------------------------------------ start

    def _variables(self, init: Mapping[str, Tensor], groups: FrameGroups | None) -> FitVariables:
        corrections = [name for name in CORRECTIONS if name in init]
        return FitVariables(
            self.body,
            self.sharing,
            groups,
            len(init['betas']),
            corrections,
            self.regressor.support,
        )

    def _start(
        self, variables: FitVariables, init: Mapping[str, Tensor], observed: Observations
    ) -> tuple[Values, dict[str, Tensor]]:
        """Return the variables' initial values, and the initial fits of the frames."""
        _check_shapes(init['betas'])
        rotations = axis_angle_to_matrix(
            torch.cat([init['global_orient'], init['body_pose']], 1).unflatten(1, (-1, 3))
        )
        values = variables.initial(rotations, init, observed.camera)
        transl = init['transl']
        if self.init_translation is not None:
            parts = []
            for frames in variables.chunks(self.chunk_size):
                selection = variables.select(frames)
                part = observed[frames]
                bodies = variables.at_frames(selection.take(values), selection, part.camera)
                parts.append(self._fitted_translation(bodies, transl[frames], part))
            transl = torch.cat(parts)
        before = {name: init[name] for name in ('global_orient', 'body_pose', 'betas')}
        before['transl'] = transl
        return variables.place(values, transl, observed.camera), before

    def _fitted_translation(
        self, bodies: FrameBodies, transl: Tensor, observed: Observations
    ) -> Tensor:  # (B, 3)
        """Fit the translation that brings the regressed joints onto the annotated ones."""
        joints = self.regressor(bodies.vertices) - bodies.transl[:, None]
        shift = self._label_shift(bodies, observed)
        joints = joints if shift is None else joints + shift
        if self.init_translation == '2d':
            motion = bodies.to_image
            fitted = fit_translation(
                joints if motion is None else joints @ motion.rotation.transpose(1, 2),
                observed.keypoints_2d,
                observed.keypoints_2d_weight,
                bodies.camera,
            )
            if motion is not None:  # back into the calibrated camera's frame
                moved = fitted - motion.translation
                fitted = torch.einsum('bji,bj->bi', motion.rotation, moved)
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

    # ------------------------------------------------------------------ each moment by itself

    def _in_parts(
        self,
        variables: FitVariables,
        start: Values,
        observed: Observations,
        weights: Mapping[str, float],
    ) -> Values:
        """Minimize from ``start``; on a CPU, refine parts of the batch in parallel.

        Most operations of an iteration are too small to be worth splitting across threads. On a CPU
        the batch is therefore split across PyTorch's threads, at least ``SMALLEST_PART`` fits each,
        unless a term couples frames or the parts share a variable.
        """
        everything = variables.all_frames()
        count, threads = variables.count, torch.get_num_threads()
        if observed.keypoints_3d.device.type != 'cpu':
            return self._without_host_sync(variables, start, everything, observed, weights)
        parts = min(threads, max(count // SMALLEST_PART, 1))
        if parts == 1 or self.energy.couples_frames:
            return self._minimize(variables, start, everything, observed, weights)
        selections = [variables.select(part) for part in variables.chunks(-(-count // parts))]
        if len(selections) == 1 or share_rows(selections):
            return self._minimize(variables, start, everything, observed, weights)
        with self._pool(len(selections), observed) as pool:
            refined_parts = pool.map(
                lambda selection: self._minimize(
                    variables,
                    selection.take(start),
                    selection,
                    observed[selection.frames],
                    weights,
                ),
                selections,
            )
            refined = {name: torch.zeros_like(value) for name, value in start.items()}
            for selection, part in zip(selections, refined_parts, strict=True):
                selection.add(refined, part)
        return refined

    def _without_host_sync(
        self,
        variables: FitVariables,
        start: Values,
        selection: Selection,
        observed: Observations,
        weights: Mapping[str, float],
    ) -> Values:
        """Queue all iterations on a GPU without a host sync, and check them once at the end."""
        arguments = variables, start, selection, observed, weights
        if not self.energy.requires('silhouette') or observed.mask is None:
            return self._minimize(*arguments)
        assert self.renderer is not None
        with torch.no_grad():
            bodies = variables.at_frames(start, selection, observed.camera)
        on_gpu = observed.mask.device.type == 'cuda'
        with self.renderer.without_host_sync(bodies.outline, bodies.camera) as all_valid:
            replay = self.cuda_graph and on_gpu and self.renderer.defers
            refined = self._minimize(*arguments, replay)
        return refined if all_valid() else self._minimize(*arguments)

    def _minimize(
        self,
        variables: FitVariables,
        start: Values,  # the rows that the selection takes
        selection: Selection,
        observed: Observations,  # of the selected frames
        weights: Mapping[str, float],
        replay: bool = False,  # by a CUDA graph
    ) -> Values:
        leaves = _leaves(start, variables)
        optimizer = self._optimizer(leaves, variables, replay)

        def step() -> None:
            bodies = self._bodies(variables, leaves, selection, observed)
            optimizer.zero_grad(set_to_none=True)
            terms: EnergyTerms = self.energy(bodies, observed)
            terms.total(weights).backward()
            optimizer.step()

        repeat_step(
            step,
            self.num_iters,
            lambda number: self._set_learning_rate(optimizer, number),
            observed.keypoints_3d.device if replay else torch.device('cpu'),
        )
        return {name: value.detach() for name, value in leaves.items()}

    # ------------------------------------------------------------------ all moments together

    def _chunks(
        self, variables: FitVariables, observed: Observations
    ) -> list[tuple[Selection, Observations]]:
        """Cut the frames into chunks whose bodies fit into memory."""
        ranges = variables.chunks(self.chunk_size)
        if self.energy.couples_frames:
            ranges = [slice(0, variables.count)]
        return [(variables.select(frames), observed[frames]) for frames in ranges]

    def _minimize_jointly(
        self,
        variables: FitVariables,
        start: Values,
        chunks: list[tuple[Selection, Observations]],
        weights: Mapping[str, float],
        pool: Executor,
        on_step: Callable[[int], Any],
        names: Sequence[str] | None,
    ) -> Values:
        """Minimize with the gradients of all chunks, added in their order."""
        leaves = _leaves(start, variables)
        optimizer = self._optimizer(leaves, variables)
        free = variables.free

        def gradients(chunk: tuple[Selection, Observations]) -> Values:
            selection, observed = chunk
            part = _leaves(selection.take(leaves), variables)
            with _listing(names, selection.frames):
                bodies = self._bodies(variables, part, selection, observed)
                terms: EnergyTerms = self.energy(bodies, observed)
            gradients = torch.autograd.grad(
                terms.total(weights), [part[name] for name in free], allow_unused=True
            )
            return {
                name: torch.zeros_like(part[name]) if grad is None else grad
                for name, grad in zip(free, gradients, strict=True)
            }

        for step in range(self.num_iters):
            self._set_learning_rate(optimizer, step)
            optimizer.zero_grad(set_to_none=True)
            total = {name: torch.zeros_like(leaves[name]) for name in free}
            for (selection, _), part in zip(chunks, pool.map(gradients, chunks), strict=True):
                selection.add(total, part)
            for name in free:
                leaves[name].grad = total[name]
            prior = prior_energy({name: leaves[name] for name in free}, self.prior)
            if prior.requires_grad:
                prior.backward()
            optimizer.step()
            on_step(step + 1)
        return {name: value.detach() for name, value in leaves.items()}

    def _evaluate_chunks(
        self,
        variables: FitVariables,
        values: Values,
        chunks: list[tuple[Selection, Observations]],
        pool: Executor,
        names: Sequence[str] | None = None,
    ) -> _Evaluation:
        def evaluate(chunk: tuple[Selection, Observations]) -> _Evaluation:
            selection, observed = chunk
            with torch.no_grad(), _listing(names, selection.frames):
                return self._evaluate(variables, selection.take(values), selection, observed)

        parts = list(pool.map(evaluate, chunks))
        ious = [part.iou for part in parts if part.iou is not None]
        return _Evaluation(
            terms={n: torch.cat([part.terms[n] for part in parts]) for n in parts[0].terms},
            iou=torch.cat(ious) if ious else None,
            fits={n: torch.cat([part.fits[n] for part in parts]) for n in parts[0].fits},
        )

    # ------------------------------------------------------------------ shared

    def _bodies(
        self,
        variables: FitVariables,
        values: Values,  # the rows that the selection takes
        selection: Selection,
        observed: Observations,
    ) -> PosedBodies:
        bodies = variables.at_frames(values, selection, observed.camera)
        return PosedBodies(
            rotations=bodies.rotations,
            betas=bodies.betas,
            transl=bodies.transl,
            vertices=bodies.vertices,
            camera=bodies.camera,
            image_size=(224, 224) if self.renderer is None else self.renderer.image_size,
            regressor=self.regressor,
            renderer=self.renderer,
            discriminator=self.discriminator,
            outline=bodies.outline,
            to_image=bodies.to_image,
            label_shift=self._label_shift(bodies, observed),
            support=bodies.support,
        )

    def _label_shift(
        self, bodies: FrameBodies, observed: Observations
    ) -> Tensor | None:  # (B, J, 3)
        """Turn the offsets of labels and joints with the parts that carry the joints."""
        parts = [o for o in (observed.label_offsets, bodies.joint_offset) if o is not None]
        if not parts:
            return None
        offsets = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        rotations = bodies.rotations
        of_parts = part_rotations(
            self.body, global_orient=rotations[:, :1], body_pose=rotations[:, 1:]
        )
        return turned(offsets, of_parts, _part_index(self.regressor.joint_names, offsets.device))

    def _evaluate(
        self, variables: FitVariables, values: Values, selection: Selection, observed: Observations
    ) -> _Evaluation:
        bodies = self._bodies(variables, values, selection, observed)
        terms: EnergyTerms = self.energy(bodies, observed)
        mask = observed.mask
        iou = None
        if mask is not None and self.renderer is not None:
            iou = soft_iou(bodies.silhouette, mask)
            iou = iou.masked_fill(~observed.has_foreground, float('nan'))
        pose = matrix_to_axis_angle(bodies.rotations)
        return _Evaluation(
            terms=terms.values,
            iou=iou,
            fits=dict(
                global_orient=pose[:, 0],
                body_pose=pose[:, 1:].flatten(1),
                betas=bodies.betas,
                transl=bodies.transl,
            ),
        )

    def _optimizer(
        self, leaves: Values, variables: FitVariables, replay: bool = False
    ) -> torch.optim.Adam:
        rates = {name: self.lr * self.lr_mult.get(name, 1.0) for name in variables.free}
        groups = [dict(params=[leaves[name]], lr=rate) for name, rate in rates.items()]
        if not replay:
            return torch.optim.Adam(groups, betas=self.betas, foreach=True)
        optimizer = torch.optim.Adam(groups, betas=self.betas, fused=True, capturable=True)
        if self.eta_min_ratio != 1:  # a replayed step reads the rate from the device
            for group in optimizer.param_groups:
                parameter = group['params'][0]
                group['initial_lr'] = group['lr']
                group['lr'] = torch.tensor(group['lr'], device=parameter.device)
        # It warns of steps that are not recorded, as the first ones are not.
        optimizer._warned_capturable_if_run_uncaptured = True
        return optimizer

    def _set_learning_rate(self, optimizer: torch.optim.Adam, step: int) -> None:
        """Set the learning rates of a step, which fall along half a cosine."""
        if self.eta_min_ratio == 1:
            return
        lowest = self.eta_min_ratio
        ratio = lowest + (1 - lowest) * (1 + cos(pi * step / self.num_iters)) / 2
        for group in optimizer.param_groups:
            group.setdefault('initial_lr', group['lr'])
            rate = group['initial_lr'] * ratio
            if isinstance(group['lr'], Tensor):
                group['lr'].fill_(rate)
            else:
                group['lr'] = rate

    @staticmethod
    def _result(
        before: dict[str, Tensor],
        first: _Evaluation,
        last: _Evaluation,
        weights: Mapping[str, float],
        values: Values,
    ) -> RefinedFits:
        return RefinedFits(
            init=before,
            refined=last.fits,
            terms_init=first.terms,
            terms_refined=last.terms,
            iou_init=first.iou,
            iou_refined=last.iou,
            weights=dict(weights),
            values=values,
        )

    def silhouette(self, fits: Mapping[str, Tensor], camera: PerspectiveCamera) -> Tensor:
        """Render the silhouettes (B, H, W) of fits in axis-angle, without gradients.

        Raises:
            ValueError: There is no renderer.
        """
        if self.renderer is None:
            raise ValueError('silhouette: there is no renderer')
        with torch.no_grad():
            return self.renderer(self.body(**fits).vertices, camera)

    @staticmethod
    def _check_finite(
        terms: Mapping[str, Tensor], when: str, names: Sequence[str] | None = None
    ) -> None:
        for name, value in terms.items():
            bad = torch.nonzero(~torch.isfinite(value)).flatten().tolist()
            if bad:
                listed = '' if names is None else f'\nframes: {[names[row] for row in bad]}'
                raise FloatingPointError(
                    f"refinement: the term '{name}' is not finite at the {when} iteration, "
                    f'samples {bad} of the batch{listed}'
                )

    @contextmanager
    def _frozen_discriminator(self) -> Iterator[None]:
        """Switch off the gradients of the discriminator's weights inside the block."""
        parameters = [] if self.discriminator is None else self.discriminator.parameters()
        frozen = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(True)

    @contextmanager
    def _pool(self, tasks: int, observed: Observations) -> Iterator[Executor]:
        """Start as many threads as PyTorch uses, which compute independently; one on a GPU."""
        threads = torch.get_num_threads()
        on_cpu = observed.keypoints_3d.device.type == 'cpu'
        workers = min(threads, tasks) if on_cpu else 1
        try:
            with ThreadPoolExecutor(
                workers,
                initializer=torch.set_num_threads,
                initargs=(max(threads // workers, 1),),
            ) as pool:
                yield pool
        finally:
            torch.set_num_threads(threads)


def sharing_of(share: Mapping[str, str] | None) -> Sharing:
    """Build a :class:`~.variables.Sharing` from a config's dict.

    Raises:
        ValueError: A name or level is unknown.
    """
    unknown = sorted(set(share or {}) - set(Sharing.__dataclass_fields__))
    if unknown:
        raise ValueError(
            f'share: unknown {unknown}, expected some of {list(Sharing.__dataclass_fields__)}'
        )
    return Sharing(**(share or {}))


@contextmanager
def _listing(names: Sequence[str] | None, frames: slice) -> Iterator[None]:
    """Add the names of a chunk's frames to errors, which number them from 0."""
    try:
        yield
    except ValueError as error:
        if names is None:
            raise
        raise type(error)(f'{error}\nframes: {list(names[frames])}') from error


def _check_shapes(betas: Tensor) -> None:  # (B, K)
    """Refuse shapes that no person has.

    Raises:
        ValueError: A coefficient is beyond :data:`MAX_BETA`.
    """
    largest = betas.abs().amax(1)
    rows = torch.nonzero(largest > MAX_BETA).flatten().tolist()
    if rows:
        raise ValueError(
            f'betas: found {float(largest[rows].max()):.4g}, expected at most {MAX_BETA:g} '
            f'standard deviations of people, in samples {rows}'
        )


def _check_rates(lr: float, betas: Sequence[float], lr_mult: Mapping[str, float]) -> None:
    """Refuse rates with which Adam would not minimize.

    Raises:
        ValueError: A rate or coefficient is out of range.
    """
    if not 0 < lr < inf:
        raise ValueError(f'lr: found {lr}, expected a positive number')
    pair = tuple(betas) if isinstance(betas, Iterable) else ()
    if len(pair) != 2 or not all(isinstance(beta, Real) and 0 <= beta < 1 for beta in pair):
        raise ValueError(f'betas: found {betas!r}, expected two numbers from 0 to below 1')
    for name, factor in lr_mult.items():
        if not 0 <= factor < inf:
            raise ValueError(f'lr_mult: {name}: found {factor}, expected 0 or a positive number')


@lru_cache
def _part_index(joint_names: tuple[str, ...], device: torch.device) -> Tensor:  # (J,)
    """Copy the index of :func:`part_index_of` to a device once: a copy makes the host wait."""
    return torch.tensor(part_index_of(joint_names), device=device)


def _leaves(values: Mapping[str, Tensor], variables: FitVariables) -> Values:
    """Copy values; gradients of the free ones are computed."""
    return {
        name: value.detach().clone().requires_grad_(name in variables.free)
        for name, value in values.items()
    }


def _means(terms: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value.mean()) for name, value in terms.items()}


def soft_iou(a: Tensor, b: Tensor) -> Tensor:  # (B, H, W) twice -> (B,)
    """Return the intersection over union of coverages: sum of minima over sum of maxima."""
    union = torch.maximum(a, b).flatten(1).sum(1)
    return torch.minimum(a, b).flatten(1).sum(1) / union.clamp_min(1e-12)
