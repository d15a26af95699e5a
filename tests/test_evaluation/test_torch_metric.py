"""The metric for loops without MMEngine: the same digits, one process or two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp

from mmjrr.body_models import free_body
from mmjrr.evaluation import JointRegressorMetric
from mmjrr.regressors import JointRegressor

pytest.importorskip('torchmetrics')

ALL_SUBJECTS = dict(type='paper', subjects='all')
PROTOCOLS = ['paper', dict(type='spin-p1', subjects='all')]


def frames(count: int) -> dict[str, Any]:
    """Random meshes of S9, S11 and S1, noisy joints of them, and image names."""
    generator = torch.Generator().manual_seed(3)
    body = free_body()
    parameters = dict(
        global_orient=torch.randn(count, 3, generator=generator),
        body_pose=0.2 * torch.randn(count, 69, generator=generator),
        betas=torch.randn(count, 10, generator=generator),
    )
    vertices = body(**parameters).vertices
    joints = JointRegressor.load('free_body_h36m')(vertices)
    names = []
    for index in range(count):
        stem = f'{("S9", "S11", "S1")[index % 3]}_Walking.{("54138969", "60457274")[index % 2]}'
        names.append(f'{stem[: stem.index("_")]}/{stem}/{stem}_{index:06d}.jpg')
    noise = 0.03 * torch.randn(joints.shape, generator=generator)
    return dict(
        vertices=vertices, parameters=parameters, keypoints_3d=joints + noise, imgname=names
    )


def reference(data: dict[str, Any], protocol: Any) -> dict[str, float]:
    metric = JointRegressorMetric('free_body_h36m', protocol, joint_order='mmpose')
    metric.process(
        None,
        [
            dict(imgname=name, pred_vertices=vertices, keypoints_3d=joints)
            for name, vertices, joints in zip(
                data['imgname'], data['vertices'], data['keypoints_3d'], strict=True
            )
        ],
    )
    return metric.evaluate(len(data['imgname']))


def metric_of(protocol: Any = 'paper') -> Any:
    from mmjrr.evaluation import JointRegressorTorchMetric

    return JointRegressorTorchMetric('free_body_h36m', protocol)


def test_vertices_give_the_digits_of_the_metric_for_mmengine() -> None:
    data = frames(9)
    metric = metric_of(PROTOCOLS)
    for start in range(0, 9, 4):
        rows = slice(start, start + 4)
        metric.update(data['vertices'][rows], data['keypoints_3d'][rows], data['imgname'][rows])
    expected = reference(data, PROTOCOLS)
    assert {name: value.item() for name, value in metric.compute().items()} == pytest.approx(
        expected, rel=1e-6
    )
    assert metric.result.metrics() == expected  # float64, to the last digit
    assert metric.result.left_out['paper'] == {'subject': {'S1': 3}}


def test_parameters_give_the_numbers_of_their_vertices() -> None:
    data = frames(6)
    metric = metric_of()
    metric.update(data['parameters'], data['keypoints_3d'], data['imgname'])
    metric.compute()
    # The vertices above are float32.
    assert metric.result.metrics() == pytest.approx(reference(data, 'paper'), abs=1e-3)


def test_forward_returns_a_batch_and_keeps_all() -> None:
    data = frames(8)
    metric = metric_of(ALL_SUBJECTS)
    for rows in (slice(0, 4), slice(4, 8)):
        batch = {name: data[name][rows] for name in ('vertices', 'keypoints_3d', 'imgname')}
        value = metric(*batch.values())['free_body_h36m/paper-subjects-all/MPJPE']
        assert value.item() == pytest.approx(
            reference(batch, ALL_SUBJECTS)['free_body_h36m/paper-subjects-all/MPJPE'], rel=1e-6
        )
    metric.compute()
    assert metric.result.metrics() == reference(data, ALL_SUBJECTS)
    metric.reset()
    with pytest.warns(UserWarning, match='before'), pytest.raises(ValueError, match='call update'):
        metric.compute()


def test_forward_is_nan_where_no_frame_of_the_batch_counts() -> None:
    data = frames(9)
    metric = metric_of(['paper', 'spin-p2'])
    for row in range(9):
        batch = {name: data[name][row : row + 1] for name in ('vertices', 'keypoints_3d')}
        name = data['imgname'][row]
        values = metric(*batch.values(), [name])
        counts = {'paper': not name.startswith('S1/')}
        counts['spin-p2'] = counts['paper'] and '60457274' in name
        assert {key: not value.isnan() for key, value in values.items()} == {
            f'free_body_h36m/{protocol}/{error}': has
            for protocol, has in counts.items()
            for error in ('MPJPE', 'PA-MPJPE')
        }
    metric.compute()
    assert metric.result.metrics() == reference(data, ['paper', 'spin-p2'])
    alone = metric_of()
    alone(data['vertices'][2:3], data['keypoints_3d'][2:3], data['imgname'][2:3])
    with pytest.raises(ValueError, match='counts none of the 1 frames'):
        alone.compute()


def test_a_second_pass_needs_reset() -> None:
    data = frames(6)
    metric = metric_of()
    rows = (data['keypoints_3d'], data['imgname'])
    metric.update(data['vertices'], *rows)
    metric.compute()
    metric.update(data['vertices'].flip(0), *rows)
    with pytest.raises(ValueError, match=r'processed several times: .*call reset\(\) before'):
        metric.compute()


def test_of_a_repeated_frame_the_first_prediction_counts() -> None:
    data = frames(6)
    metric = metric_of()
    metric.update(data['vertices'], data['keypoints_3d'], data['imgname'])
    metric.update(2 * data['vertices'][:1], data['keypoints_3d'][:1], data['imgname'][:1])
    metric.compute()
    assert metric.result.metrics() == reference(data, 'paper')
    assert f'1 frames, such as {data["imgname"][0]!r}, have' in metric.result.notes[-1]
    metric.update(data['vertices'][:1], data['keypoints_3d'][1:2], data['imgname'][:1])
    with pytest.raises(ValueError, match=r'are both named .*; expected names that differ'):
        metric.compute()


def test_a_frame_without_a_body_is_skipped_on_demand() -> None:
    from mmjrr.evaluation import JointRegressorTorchMetric

    data = frames(5)
    expected = reference({name: data[name][1:] for name in data if name != 'parameters'}, 'paper')
    data['vertices'][0] = 0
    with pytest.raises(ValueError, match="1 all zeros|1 vertices in one point.*missing='skip'"):
        metric_of().update(data['vertices'], data['keypoints_3d'], data['imgname'])
    metric = JointRegressorTorchMetric('free_body_h36m', missing='skip')
    metric.update(data['vertices'], data['keypoints_3d'], data['imgname'])
    metric.compute()
    assert metric.result.metrics() == expected
    assert metric.result.skipped == (data['imgname'][0],)


def test_arrays_and_tensors_of_any_type_are_taken() -> None:
    data = frames(4)
    metric = metric_of()
    metric.update(data['vertices'].numpy(), data['keypoints_3d'].numpy(), data['imgname'])
    metric.compute()
    assert metric.result.metrics() == reference(data, 'paper')
    metrics = []
    for convert in (
        torch.Tensor.bfloat16,
        lambda value: value.bfloat16().float(),
        lambda value: list(value.bfloat16()),
    ):
        metric = metric_of()
        parameters = {
            name: convert(value.clone().requires_grad_())
            for name, value in data['parameters'].items()
        }
        metric.update(parameters, convert(data['keypoints_3d']), data['imgname'])
        metric.compute()
        metrics.append(metric.result.metrics())
    assert metrics[0] == metrics[1] == metrics[2]


def test_joints_without_a_weight_do_not_count() -> None:
    data = frames(3)
    weight = torch.ones(3, 17)
    weight[:, 5] = 0
    wrong = data['keypoints_3d'].clone()
    wrong[:, 5] += 1.0
    metric = metric_of(ALL_SUBJECTS)
    metric.update(data['vertices'], wrong, data['imgname'], weight)
    first = metric.compute()
    metric.reset()
    metric.update(data['vertices'], data['keypoints_3d'], data['imgname'], weight)
    assert metric.compute() == first


def test_rows_that_do_not_match_the_names_are_refused() -> None:
    data = frames(3)
    with pytest.raises(ValueError, match='keypoints_3d: found 2 rows for 3 image names'):
        metric_of().update(data['vertices'], data['keypoints_3d'][:2], data['imgname'])
    with pytest.raises(ValueError, match='pred_vertices: found NoneType, expected an array of 3 r'):
        metric_of().update(None, data['keypoints_3d'], data['imgname'])
    with pytest.raises(ValueError, match='keypoints_3d: found Tensor, expected an array of 3 rows'):
        metric_of().update(data['vertices'], torch.tensor(1.0), data['imgname'])
    with pytest.raises(ValueError, match="imgname: found 'a.jpg', expected the name of each image"):
        metric_of().update(data['vertices'], data['keypoints_3d'], 'a.jpg')


def _evaluate_share(
    rank: int, data: dict[str, Any], shares: list[list[int]], store: str, out: str
) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=2
    )
    metric = metric_of(PROTOCOLS)
    share = shares[rank]
    for rows in filter(None, (share[:2], share[2:])):
        metric.update(
            data['vertices'][rows],
            data['keypoints_3d'][rows],
            [data['imgname'][row] for row in rows],
        )
    metric.compute()
    torch.save(metric.result.metrics(), f'{out}/{rank}.pt')
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(
    'shares',
    [
        [[0, 2, 4, 6, 8], [1, 3, 5, 7, 0]],  # the sampler repeats the first frame
        [list(range(9)), []],
        [[], list(range(9))],
    ],
)
def test_two_processes_give_the_digits_of_one(tmp_path: Path, shares: list[list[int]]) -> None:
    # Made once: a process with other threads may round the float32 vertices otherwise.
    data = frames(9)
    mp.spawn(_evaluate_share, (data, shares, str(tmp_path / 'store'), str(tmp_path)), nprocs=2)
    expected = reference(data, PROTOCOLS)
    for rank in range(2):
        assert torch.load(tmp_path / f'{rank}.pt') == expected


@pytest.mark.slow
def test_without_torchmetrics_one_sentence_says_what_to_install() -> None:
    code = (
        'import sys; sys.modules["torchmetrics"] = None\n'
        'import mmjrr.evaluation as evaluation\n'
        'try:\n    evaluation.JointRegressorTorchMetric\n'
        'except ImportError as error:\n    print(error)'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
    )
    assert done.stdout == (
        'JointRegressorTorchMetric needs torchmetrics: pip install torchmetrics\n'
    )
