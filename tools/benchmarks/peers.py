"""Compare with other packages on the same work: which result is better, and which is faster.

    python3.13 -m venv .venv-peers
    .venv-peers/bin/pip install -r requirements/quickstart.txt -r requirements/peers.txt
    .venv-peers/bin/pip install --no-deps mmengine==0.10.7
    .venv-peers/bin/pip install --no-deps -e .
    .venv-peers/bin/python tools/benchmarks/peers.py [--only bodies qp] [--rounds 5]

Both sides run in turn in one process with one thread, and the medians of their processor times are
compared. A peer that is not installed is left out, and noted. About four minutes.
"""

from __future__ import annotations

import argparse
import importlib
import pickle
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Record, arguments, check_same, parse, positive, seconds, synthetic_data
from evaluation import procrustes, repeated_frames
from scipy import sparse
from smplx_body import SmplxBody, body_file
from solver import Fits, row_by_nnls, row_problems
from torch import Tensor

import mmjrr
from mmjrr.body_models import FREE_BODY_FILE, SMPL, load_smpl_file
from mmjrr.geometry import (
    axis_angle_to_matrix,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
)
from mmjrr.io import atomic_write, read_npz
from mmjrr.joints import LSP_JOINTS
from mmjrr.regressors import JointRegressor, fit_joint_regressor

#: Seconds after which a solver of quadratic programs stops.
QP_SECONDS = 60.0


@dataclass
class Side:
    """One program, and what it returned in its last run."""

    run: Callable[[], Any]
    scale: float = 1.0  # of its time, where it does a part of the work
    result: Any = None


def main() -> None:
    """Run the benchmark and write its record."""
    parser = arguments(__doc__)
    parser.add_argument('--only', nargs='+', choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument('--frames', type=positive, default=1000, help='frames to evaluate')
    parser.add_argument(
        '--qp-frames',
        type=positive,
        nargs='+',
        default=[50, 400],
        help='frames of regressor fits; Clarabel and HiGHS solve the first only',
    )
    parser.set_defaults(rounds=5, threads=1)
    args = parse(parser)
    record = Record('peers', 'Other packages', vars(args) | {'out': ''})
    rows: list[list[str]] = []
    for name in args.only:
        try:
            rows += SECTIONS[name](record, args)
        except ImportError as error:
            record.note(f'Left out: {name}. {error}')
    record.table(
        ['work', 'peer', "ours: result's error", "peer's error", 'ours', 'peer', 'peer / ours'],
        rows,
        'Processor time on one thread; above 1 in the last column, ours is faster.',
    )
    record.write(args.out)


def take_turns(sides: Mapping[str, Side], rounds: int) -> dict[str, list[float]]:
    """Run the sides in turn and return their processor seconds, scaled; a first round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            start = time.process_time()
            side.result = side.run()
            if number:
                taken[name].append(side.scale * (time.process_time() - start))
    return taken


def compare(
    record: Record,
    work: str,
    sides: Mapping[str, Side],
    error: Callable[[Any], str],
    rounds: int,
) -> list[list[str]]:
    """Time sides, the first of which is ours, and return a row of the table for each peer."""
    taken = take_turns(sides, rounds)
    record.content['timings'][work] = taken
    medians = {name: statistics.median(values) for name, values in taken.items()}
    (ours, our_time), *peers = medians.items()
    rows = [
        [
            work, peer, error(sides[ours].result), error(sides[peer].result), seconds(our_time),
            seconds(peer_time), f'{peer_time / our_time:.2f}',
        ]
        for peer, peer_time in peers
    ]  # fmt: skip
    for row in rows:
        print(' | '.join(row), flush=True)
    return rows


# -- bodies ----------------------------------------------------------------------------------


class Poses:
    """Random poses, shapes and translations, and the true vertices by ``smplx.lbs`` in float64."""

    def __init__(self, path: Path, batch: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.pose = 0.3 * torch.randn(batch, 24, 3, generator=generator)
        self.betas = torch.randn(batch, 10, generator=generator)
        self.transl = torch.randn(batch, 3, generator=generator)
        body = SmplxBody(path)
        for name, value in vars(body).items():
            if isinstance(value, Tensor) and value.is_floating_point():
                setattr(body, name, value.double())
        rotations = axis_angle_to_matrix(self.pose.double())
        self.vertices = body(rotations, self.betas.double(), self.transl.double())


def with_tree(path: Path, out: Path) -> Path:
    """Write a body in the format that peers read: SMPL's names of arrays, all dense."""
    data = load_smpl_file(path)
    arrays = {name: np.asarray(data[name]) for name in (
        'v_template', 'shapedirs', 'posedirs', 'J_regressor', 'weights', 'f',
    )}  # fmt: skip
    parents = np.asarray(data['parents'], dtype=np.int64)
    arrays['kintree_table'] = np.stack([parents, np.arange(len(parents))])
    out.mkdir(parents=True, exist_ok=True)
    target = out / f'{path.stem}_kintree.npz'
    with atomic_write(target) as temporary, open(temporary, 'wb') as file:
        np.savez(file, **arrays)
    return target


def bodies(record: Record, args: argparse.Namespace) -> list[list[str]]:
    """Compare vertices and their gradients with those of body-models."""
    body_models = importlib.import_module('body_models.smpl.torch')
    path = body_file(args.out, True, args.seed)
    peer = body_models.SMPL(model_path=with_tree(path, args.out / 'peers'))
    ours = SMPL(path).requires_grad_(False)
    poses = Poses(path, 64, args.seed)
    truth = poses.vertices
    pose, betas, transl = poses.pose, poses.betas, poses.transl

    def our_vertices(pose: Tensor, betas: Tensor, transl: Tensor) -> Tensor:
        return ours(
            betas=betas, global_orient=pose[:, 0], body_pose=pose[:, 1:].flatten(1), transl=transl
        ).vertices

    def peer_vertices(pose: Tensor, betas: Tensor, transl: Tensor) -> Tensor:
        return peer.forward_vertices(
            pose[:, 1:], pelvis_rotation=pose[:, 0], shape=betas, global_translation=transl
        )

    def off(vertices: Tensor) -> str:
        return f'{1000 * (vertices - truth).norm(dim=-1).max():.1e} mm'

    @torch.no_grad()
    def forward(vertices: Callable[..., Tensor]) -> Tensor:
        return vertices(pose, betas, transl)

    upstream = torch.randn(truth.shape, generator=torch.Generator().manual_seed(args.seed))

    def backward(vertices: Callable[..., Tensor]) -> Tensor:
        inputs = [value.clone().requires_grad_() for value in (pose, betas, transl)]
        made = vertices(*inputs)
        torch.autograd.grad(made, inputs, upstream)
        return made.detach()

    for vertices in (our_vertices, peer_vertices):
        check_same('vertices', forward(vertices), truth, 1e-5)
    rows = []
    for work, way in (('', forward), (' and gradients', backward)):
        rows += compare(
            record, f'64 bodies, pose blend shapes: vertices{work}',
            {'ours': Side(lambda way=way: way(our_vertices)),
             'body-models': Side(lambda way=way: way(peer_vertices)),
             'smplx': Side(lambda way=way: way(_smplx_vertices(path)))},
            off, args.rounds,
        )  # fmt: skip
    regressor = JointRegressor.load('free_body_h36m')
    part = ours.restrict_to(regressor.support)
    points = peer.prepare_point_regressor(regressor.weight)
    true_joints = regressor.weight.double() @ truth

    @torch.no_grad()
    def our_joints() -> Tensor:
        posed = part(
            betas=betas, global_orient=pose[:, 0], body_pose=pose[:, 1:].flatten(1), transl=transl
        )
        return regressor(posed.vertices)

    @torch.no_grad()
    def peer_joints() -> Tensor:
        return peer.forward_points(
            pose[:, 1:], point_regressor=points, pelvis_rotation=pose[:, 0], shape=betas,
            global_translation=transl,
        )  # fmt: skip

    rows += compare(
        record, '64 bodies: 17 joints of a regressor, without the other vertices',
        {'ours': Side(our_joints), 'body-models': Side(peer_joints)},
        lambda joints: f'{1000 * (joints - true_joints).norm(dim=-1).max():.1e} mm',
        4 * args.rounds,
    )  # fmt: skip
    return rows


def _smplx_vertices(path: Path) -> Callable[..., Tensor]:
    body = _SMPLX.setdefault(path, SmplxBody(path))
    return lambda pose, betas, transl: body(axis_angle_to_matrix(pose), betas, transl)


_SMPLX: dict[Path, SmplxBody] = {}


# -- vertices to parameters --------------------------------------------------------------------


def parameters(record: Record, args: argparse.Namespace) -> list[list[str]]:
    """Fit parameters to meshes with 5 mm of noise: smplfitter's linear systems, and Adam."""
    smplfitter = importlib.import_module('smplfitter.pt')
    batch = 32
    poses = Poses(FREE_BODY_FILE, batch, args.seed)
    generator = torch.Generator().manual_seed(args.seed + 1)
    noise = 0.005 * torch.randn(poses.vertices.shape, generator=generator)
    meshes = (poses.vertices + noise).float()
    body = SMPL(FREE_BODY_FILE).requires_grad_(False)
    regressor = JointRegressor.load('free_body_h36m')
    root = _smplfitters_folder(args.out / 'peers')
    fitter = smplfitter.BodyFitter(smplfitter.BodyModel('smpl', 'neutral', str(root), 10))

    def pose_body(pose: Tensor, betas: Tensor, transl: Tensor) -> Tensor:
        return body(
            betas=betas, global_orient=pose[:, :1], body_pose=pose[:, 1:], transl=transl
        ).vertices

    def by_adam(steps: int, start: Mapping[str, Tensor] | None = None) -> Tensor:
        rotations = start['pose'] if start else torch.eye(3).expand(batch, 24, 3, 3)
        variables = [
            matrix_to_rotation_6d(rotations).clone().requires_grad_(),
            (start['betas'] if start else torch.zeros(batch, 10)).clone().requires_grad_(),
            (start['transl'] if start else meshes.mean(1)).clone().requires_grad_(),
        ]
        optimizer = torch.optim.Adam(variables, lr=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            made = pose_body(rotation_6d_to_matrix(variables[0]), *variables[1:])
            optimizer.zero_grad()
            (made - meshes).square().sum(-1).mean(1).sum().backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            return pose_body(rotation_6d_to_matrix(variables[0]), *variables[1:])

    @torch.no_grad()
    def by_smplfitter() -> Tensor:
        fit = fitter.fit(
            target_vertices=meshes, num_iter=3, beta_regularizer=0.0,
            requested_keys=['pose_rotvecs', 'shape_betas', 'trans'],
        )  # fmt: skip
        pose = axis_angle_to_matrix(fit['pose_rotvecs'].unflatten(1, (24, 3)))
        return pose_body(pose, fit['shape_betas'], fit['trans'])

    def off(vertices: Tensor) -> str:
        mesh = 1000 * (vertices - poses.vertices).norm(dim=-1).mean()
        joints = regressor.weight.double() @ (vertices - poses.vertices)
        return f'{mesh:.2f} mm; joints {1000 * joints.norm(dim=-1).mean():.2f} mm'

    return compare(
        record, f'{batch} meshes with noise to parameters (Adam on our body, 200 steps)',
        {'ours': Side(lambda: by_adam(200)), 'smplfitter': Side(by_smplfitter)},
        off, max(args.rounds // 2, 1),
    )  # fmt: skip


def _smplfitters_folder(out: Path) -> Path:
    """Write the free body under the file names that smplfitter reads."""
    arrays = dict(np.load(with_tree(FREE_BODY_FILE, out)))
    with atomic_write(out / 'basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl') as temporary:
        temporary.write_bytes(pickle.dumps(arrays))
    with atomic_write(out / 'kid_template.npy') as temporary, open(temporary, 'wb') as file:
        np.save(file, np.zeros_like(arrays['v_template']))
    return out


# -- evaluation --------------------------------------------------------------------------------


def evaluation(record: Record, args: argparse.Namespace) -> list[list[str]]:
    """Score predictions under SPIN's protocol 1, by files and by a loop over batches."""
    data = synthetic_data(args.out, args.seed)
    annotation, fits = repeated_frames(data, args.out / 'evaluation', args.frames)
    regressor = JointRegressor.load(data / 'regressors/J_std.npy').reorder('mmpose')
    loaded = read_npz(annotation)['S'], read_npz(fits)

    def ours() -> dict[str, float]:
        scores = mmjrr.evaluate(
            fits, annotation, {'J_std': regressor}, protocol='spin-p1', body_model='free_body'
        ).metrics()
        return {kind: scores[f'J_std/spin-p1/{kind}'] for kind in ('MPJPE', 'PA-MPJPE')}

    for kind, score in ours().items():
        check_same(kind, score, spin_loop(*loaded, regressor)[kind], 1e-5)
    return compare(
        record, f"{args.frames:,} frames under SPIN's protocol 1",
        {'ours': Side(ours), "loop of SPIN's evaluation":
            Side(lambda: spin_loop(*loaded, regressor))},
        lambda score: f'{score["MPJPE"]:.4f} / {score["PA-MPJPE"]:.4f} mm',
        max(args.rounds // 2, 1),
    )  # fmt: skip


def spin_loop(
    annotated: np.ndarray, fits: dict[str, np.ndarray], regressor: JointRegressor
) -> dict[str, float]:
    """Evaluate in batches of 32, as SPIN's evaluation is described.

    Whole bodies by smplx, a matrix over all vertices, the pelvis subtracted before 14 joints are
    selected, and a Procrustes alignment for each sample.
    """
    body = _SMPLX.setdefault(FREE_BODY_FILE, SmplxBody(FREE_BODY_FILE))
    chosen = [regressor.joint_names.index(name) for name in LSP_JOINTS]
    errors, aligned_errors = [], []
    for start in range(0, len(annotated), 32):
        rows = slice(start, start + 32)
        pose = torch.from_numpy(fits['pose'][rows]).unflatten(1, (24, 3))
        with torch.no_grad():
            betas = torch.from_numpy(fits['betas'][rows])
            vertices = body(axis_angle_to_matrix(pose), betas, torch.zeros(len(pose), 3))
            joints = torch.matmul(regressor.weight, vertices)
        predicted = (joints - joints[:, :1])[:, chosen].numpy()
        target = annotated[rows, :, :3]
        target = (target - target[:, :1])[:, chosen]
        errors.append(np.sqrt(((predicted - target) ** 2).sum(-1)).mean(-1))
        for one, goal in zip(predicted, target, strict=True):
            aligned = procrustes(one, goal)
            aligned_errors.append(np.sqrt(((aligned - goal) ** 2).sum(-1)).mean())
    return {
        'MPJPE': 1000 * float(np.concatenate(errors).mean()),
        'PA-MPJPE': 1000 * float(np.mean(aligned_errors)),
    }


# -- regressor fit -----------------------------------------------------------------------------


def qp(record: Record, args: argparse.Namespace) -> list[list[str]]:
    """Fit rows on the simplex; peers solve for one of 17 rows, and their times are scaled."""
    solvers = {'scipy.optimize.nnls': row_by_nnls}
    for name, solve in (('Clarabel', row_by_clarabel), ('HiGHS', row_by_highs)):
        try:
            importlib.import_module(_MODULES[name])
            solvers[name] = solve
        except ImportError as error:
            record.note(f'Left out: {name}. {error}')
    first, *others = args.qp_frames
    rows = _rows_on_simplex(record, first, args.seed, solvers)
    for frames in others:
        rows += _rows_on_simplex(record, frames, args.seed, {'scipy.optimize.nnls': row_by_nnls})
    return rows


_MODULES = {'Clarabel': 'clarabel', 'HiGHS': 'highspy'}


def _rows_on_simplex(
    record: Record, frames: int, seed: int, solvers: Mapping[str, Callable[..., Any]]
) -> list[list[str]]:
    batches = [(bodies.of(), joints) for bodies, joints in Fits(frames, seed)]
    names = JointRegressor.load('free_body_h36m').joint_names
    a, b = row_problems(batches)
    row = b[:, 0]

    def ours() -> np.ndarray:
        fit = fit_joint_regressor(batches, names, None, body_model='free_body')
        return fit.regressor.weight.double().numpy()[0]

    sides = {'ours': Side(ours)}
    for name, solve in solvers.items():
        sides[name] = Side(lambda solve=solve: solve(a, row), scale=len(names))

    def on_simplex(weights: np.ndarray) -> np.ndarray:
        return np.maximum(weights, 0) / np.maximum(weights, 0).sum()

    def residual(weights: np.ndarray) -> float:
        return float(((a @ on_simplex(weights) - row) ** 2).sum())

    def off(weights: np.ndarray | None) -> str:
        if weights is None:
            return 'stopped without a solution'
        best = min(residual(s.result) for s in sides.values() if s.result is not None)
        return f'{residual(weights) / best - 1:.0e}'

    return compare(
        record, f'regressor fit, {frames} frames (squared residual over the least)',
        sides, off, 1,
    )  # fmt: skip


def row_by_clarabel(a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """Solve by Clarabel's interior-point method: min r'r/2, r = a w - b, sum(w) = 1, w >= 0."""
    clarabel = importlib.import_module('clarabel')
    equations, count = a.shape
    quadratic = sparse.block_diag([sparse.csc_matrix((count, count)), sparse.eye(equations)])
    constraints = sparse.vstack([
        sparse.hstack([sparse.csc_matrix(a), -sparse.eye(equations)]),
        sparse.hstack([np.ones((1, count)), sparse.csc_matrix((1, equations))]),
        sparse.hstack([-sparse.eye(count), sparse.csc_matrix((count, equations))]),
    ])  # fmt: skip
    right = np.concatenate([b, [1.0], np.zeros(count)])
    cones = [clarabel.ZeroConeT(equations + 1), clarabel.NonnegativeConeT(count)]
    settings = clarabel.DefaultSettings()
    settings.verbose, settings.max_threads, settings.time_limit = False, 1, QP_SECONDS
    solver = clarabel.DefaultSolver(
        sparse.triu(quadratic).tocsc(), np.zeros(count + equations), constraints.tocsc(), right,
        cones, settings,
    )  # fmt: skip
    solution = solver.solve()
    solved = str(solution.status).endswith('Solved')
    return np.asarray(solution.x)[:count] if solved else None


def row_by_highs(a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """Solve by HiGHS's active-set method: min r'r/2, r = a w - b, sum(w) = 1, w >= 0."""
    highspy = importlib.import_module('highspy')
    equations, count = a.shape
    rows = sparse.vstack([
        sparse.hstack([sparse.csc_matrix(a), -sparse.eye(equations)]),
        sparse.hstack([np.ones((1, count)), sparse.csc_matrix((1, equations))]),
    ]).tocsc()  # fmt: skip
    model = highspy.HighsModel()
    lp = model.lp_
    lp.num_col_, lp.num_row_ = count + equations, equations + 1
    lp.col_cost_ = np.zeros(lp.num_col_)
    lp.col_lower_ = np.concatenate([np.zeros(count), np.full(equations, -highspy.kHighsInf)])
    lp.col_upper_ = np.full(lp.num_col_, highspy.kHighsInf)
    lp.row_lower_ = lp.row_upper_ = np.append(b, 1.0)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_ = rows.indptr, rows.indices
    lp.a_matrix_.value_ = rows.data
    hessian = model.hessian_
    hessian.dim_, hessian.format_ = lp.num_col_, highspy.HessianFormat.kTriangular
    hessian.start_ = np.append(np.zeros(count, dtype=int), np.arange(equations + 1))
    hessian.index_ = np.arange(count, count + equations)
    hessian.value_ = np.ones(equations)
    solver = highspy.Highs()
    solver.silent()
    solver.setOptionValue('threads', 1)
    solver.setOptionValue('time_limit', QP_SECONDS)
    solver.passModel(model)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    return np.asarray(solver.getSolution().col_value)[:count]


# -- silhouettes -------------------------------------------------------------------------------


def silhouettes(record: Record, args: argparse.Namespace) -> list[list[str]]:
    """Say where PyTorch3D is compared: its own benchmark times it where it can be imported."""
    importlib.import_module('pytorch3d')
    record.note('PyTorch3D: see tools/benchmarks/silhouette.py.')
    return []


SECTIONS: dict[str, Callable[[Record, argparse.Namespace], list[list[str]]]] = {
    'bodies': bodies,
    'parameters': parameters,
    'evaluation': evaluation,
    'qp': qp,
    'silhouettes': silhouettes,
}


if __name__ == '__main__':
    main()
