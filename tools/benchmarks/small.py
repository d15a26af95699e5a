"""Time the small steps of which everything consists, and compare them with former runs.

    python tools/benchmarks/small.py [--out work_dirs/benchmarks]

pytest-benchmark (requirements/benchmarks.txt) times each function below, in processor time of one
thread, and keeps every run in the folder ``small`` beside the JSON file. A run after the first
prints how each time compares with the last one. About a minute.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from common import Record, arguments, parse, seconds
from silhouette import random_bodies
from solver import Fits

from mmjrr.body_models import free_body
from mmjrr.evaluation.functional import pa_mpjpe
from mmjrr.regressors import JointRegressor, fit_joint_regressor
from mmjrr.rendering import ContourSilhouette


def main() -> None:
    """Run the benchmarks, and compare them with those of an earlier run."""
    parser = arguments(__doc__)
    parser.set_defaults(threads=1)
    args = parse(parser)
    storage = args.out / 'small'
    rounds = args.out / 'small_rounds.json'
    args.out.mkdir(parents=True, exist_ok=True)
    options = ['-q', '-c', '/dev/null', '--rootdir', str(Path(__file__).parent)]
    options += ['-p', 'no:cacheprovider', '--benchmark-timer=time.process_time']
    options += [f'--benchmark-json={rounds}', f'--benchmark-storage=file://{storage.resolve()}']
    options += ['--benchmark-autosave', '--benchmark-columns=median,iqr,rounds']
    options += ['--benchmark-max-time=3', '--benchmark-min-rounds=20']
    if any(storage.rglob('*.json')):
        options.append('--benchmark-compare')
    status = pytest.main([__file__, *options])  # the last option takes an optional value
    if status:
        raise SystemExit(int(status))
    record = Record('small', 'Small steps', {'seed': args.seed})
    times = {
        one['extra_info']['title']: one['stats']
        for one in json.loads(rounds.read_text())['benchmarks']
    }
    record.content['timings'] = {
        title: {key: stats[key] for key in ('median', 'iqr', 'min', 'rounds')}
        for title, stats in times.items()
    }
    record.table(
        ['step', 'processor time', 'interquartile range'],
        [
            [title, seconds(stats['median']), seconds(stats['iqr'])]
            for title, stats in times.items()
        ],
        'One thread, free body.',
    )
    record.write(args.out)


def _bodies(count: int, *, gradients: bool) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    shapes = dict(global_orient=(count, 3), body_pose=(count, 69), betas=(count, 10))
    return {
        name: (0.3 * torch.randn(shape, generator=generator)).requires_grad_(gradients)
        for name, shape in shapes.items()
    }


def test_vertices_and_gradients(benchmark: Any) -> None:
    """Time the body model."""
    body = free_body().requires_grad_(False)
    inputs = _bodies(16, gradients=True)
    upstream = torch.ones(16, body.num_vertices, 3)

    def forward_and_backward() -> None:
        torch.autograd.grad(body(**inputs).vertices, list(inputs.values()), upstream)

    benchmark.extra_info['title'] = '16 bodies: vertices and gradients'
    benchmark(forward_and_backward)


def test_silhouettes_and_gradients(benchmark: Any) -> None:
    """Time the renderer."""
    vertices, faces, camera = random_bodies(16, 224, 0)
    renderer = ContourSilhouette(faces, (224, 224))
    vertices.requires_grad_()
    upstream = torch.ones(16, 224, 224)

    def forward_and_backward() -> None:
        torch.autograd.grad(renderer(vertices, camera), vertices, upstream)

    benchmark.extra_info['title'] = '16 silhouettes of 224x224 pixels and gradients'
    benchmark(forward_and_backward)


def test_joints(benchmark: Any) -> None:
    """Time the product of a regressor with vertices."""
    regressor = JointRegressor.load('free_body_h36m')
    with torch.no_grad():
        vertices = free_body()(**_bodies(256, gradients=False)).vertices
    benchmark.extra_info['title'] = '17 joints of 256 meshes'
    benchmark(partial(regressor, vertices))


def test_aligned_errors(benchmark: Any) -> None:
    """Time PA-MPJPE."""
    generator = torch.Generator().manual_seed(0)
    predicted, target = torch.randn(2, 10_000, 17, 3, generator=generator)
    benchmark.extra_info['title'] = 'PA-MPJPE of 10,000 frames'
    benchmark(partial(pa_mpjpe, predicted, target))


def test_regressor_fit(benchmark: Any) -> None:
    """Time the fit of a regressor."""
    fits = Fits(64, 0)
    fit = partial(fit_joint_regressor, fits, fits.truth.joint_names, 'mean', body_model='free_body')
    benchmark.extra_info['title'] = 'regressor fit to 64 frames'
    benchmark.pedantic(fit, rounds=3, warmup_rounds=1)


if __name__ == '__main__':
    main()
