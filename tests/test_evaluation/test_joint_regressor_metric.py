"""The metric in and out of MMEngine's Runner, in other people's scopes, and across processes."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS, DefaultScope, Registry
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, InstanceData

from mmjrr.body_models import free_body
from mmjrr.evaluation import JointRegressorMetric, frame_errors
from mmjrr.joints import H36M_JOINTS_MMPOSE, reorder_index
from mmjrr.regressors import JointRegressor

CAMERAS = ('54138969', '60457274')
BODY = dict(type='FreeBody')
ALL_SUBJECTS = dict(type='paper', subjects='all')


def image_name(index: int) -> str:
    action = ('Walking_1', 'WalkingDog')[index % 3 == 0]
    stem = f'{("S9", "S11")[index % 2]}_{action}.{CAMERAS[index // 2 % 2]}'
    return f'{stem[: stem.index("_")]}/{stem}/{stem}_{index:06d}.jpg'


def make_samples(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Samples with a random pose as the prediction and a near one as the annotation."""
    generator = torch.Generator().manual_seed(seed)
    body = free_body()
    samples = []
    for index in range(count):
        orient, pose, betas = (
            scale * torch.randn(size, generator=generator)
            for scale, size in ((1.0, 3), (0.2, 69), (1.0, 10))
        )
        truth = body(
            global_orient=orient[None], body_pose=pose[None] + 0.05, betas=betas[None]
        ).vertices
        samples.append(
            dict(
                imgname=image_name(index),
                sample_idx=index,
                pred_global_orient=orient,
                pred_body_pose=pose,
                pred_betas=betas,
                keypoints_3d=JointRegressor.load('free_body_h36m')(truth)[0] + 3.0,
            )
        )
    return samples


@pytest.fixture(scope='module')
def samples() -> list[dict[str, Any]]:
    return make_samples(23)


@pytest.fixture(scope='module')
def regressors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two regressors' files: the free body's, and one whose joints are displaced."""
    folder = tmp_path_factory.mktemp('regressors')
    good = JointRegressor.load('free_body_h36m')
    shifted = torch.roll(good.weight, 5, dims=1)
    paths = {
        'good': good.save(folder / 'good.npy'),
        'other': JointRegressor(shifted, good.joint_names, 'free_body').save(folder / 'other.npy'),
    }
    return {name: str(path) for name, path in paths.items()}


def evaluate(metric: JointRegressorMetric, samples: list[dict], batch: int = 4) -> dict[str, float]:
    for start in range(0, len(samples), batch):
        metric.process(None, samples[start : start + batch])
    return metric.evaluate(len(samples))


def with_vertices(samples: list[dict]) -> list[dict]:
    body = free_body()
    with_meshes = []
    for sample in samples:
        vertices = body(
            global_orient=sample['pred_global_orient'][None],
            body_pose=sample['pred_body_pose'][None],
            betas=sample['pred_betas'][None],
        ).vertices[0]
        kept = {k: v for k, v in sample.items() if not k.startswith('pred_')}
        with_meshes.append({**kept, 'pred_vertices': vertices})
    return with_meshes


# -- numbers ---------------------------------------------------------------------------------


def test_scores_are_means_of_frame_errors_of_the_regressed_joints(samples, regressors):
    metric = JointRegressorMetric(regressors, ['paper', 'spin-p2'])
    result = evaluate(metric, with_vertices(samples))
    vertices = torch.stack([sample['pred_vertices'] for sample in with_vertices(samples)]).double()
    target = torch.stack([sample['keypoints_3d'] for sample in samples]).double()
    frontal = [CAMERAS.index('60457274') == index // 2 % 2 for index in range(len(samples))]
    for name, path in regressors.items():
        joints = JointRegressor.load(path, dtype=torch.float64)(vertices)
        for protocol, rows in (('paper', slice(None)), ('spin-p2', frontal)):
            errors = frame_errors(
                1000 * joints[rows].numpy(), 1000 * target[rows].numpy(), 'mmpose', protocol
            )
            key = f'{name}/{protocol}'
            np.testing.assert_allclose(result[f'{key}/MPJPE'], errors.mpjpe.mean(), rtol=1e-6)
            np.testing.assert_allclose(result[f'{key}/PA-MPJPE'], errors.pa_mpjpe.mean(), rtol=1e-6)
    assert len(result) == 8
    assert result['good/paper/MPJPE'] < result['other/paper/MPJPE']


def test_vertices_and_parameters_agree(samples, regressors):
    by_vertices = evaluate(JointRegressorMetric(regressors), with_vertices(samples))
    by_parameters = evaluate(JointRegressorMetric(regressors, body_model=BODY), samples)
    assert by_parameters == pytest.approx(by_vertices, abs=1e-3)  # mm; vertices are float32


def test_poses_in_any_representation_agree(samples, regressors):
    from mmjrr.geometry import axis_angle_to_matrix, matrix_to_rotation_6d

    expected = evaluate(JointRegressorMetric(regressors, body_model=BODY), samples)
    for as_6d in (False, True):
        converted = []
        for sample in samples:
            sample = dict(sample)
            for name in ('pred_global_orient', 'pred_body_pose'):
                pose = axis_angle_to_matrix(sample[name].double().reshape(-1, 3))
                sample[name] = matrix_to_rotation_6d(pose).flatten() if as_6d else pose[None]
            converted.append(sample)
        result = evaluate(JointRegressorMetric(regressors, body_model=BODY), converted)
        assert result == pytest.approx(expected, abs=1e-4)


def as_matrices(samples: list[dict]) -> list[dict]:
    from mmjrr.geometry import axis_angle_to_matrix

    return [
        {
            **sample,
            'pred_global_orient': axis_angle_to_matrix(sample['pred_global_orient']),
            'pred_body_pose': axis_angle_to_matrix(sample['pred_body_pose'].reshape(-1, 3)),
        }
        for sample in samples
    ]


@pytest.mark.parametrize('parameters', [False, True])
def test_numbers_may_be_of_any_type(samples, regressors, parameters):
    names = [name for name in samples[0] if name.startswith('pred_')] if parameters else []
    names.append('keypoints_3d')
    inputs = samples if parameters else with_vertices(samples)
    rounded = [{**s, **{name: s[name].bfloat16() for name in names}} for s in inputs]
    expected = evaluate(
        JointRegressorMetric(regressors, body_model=BODY),
        [{**s, **{name: s[name].float() for name in names}} for s in rounded],
    )
    for convert in (
        lambda value: value,
        lambda value: value.clone().requires_grad_(),
        lambda value: value.double().tolist(),
        lambda value: value.float().numpy(),
    ):
        converted = [{**s, **{name: convert(s[name]) for name in names}} for s in rounded]
        metric = JointRegressorMetric(regressors, body_model=BODY)
        assert evaluate(metric, converted) == expected


def test_breakdowns_average_to_the_whole(samples, regressors):
    metric = JointRegressorMetric(regressors['good'])
    evaluated = evaluate(metric, with_vertices(samples))
    result = metric.result
    assert result is not None
    for by, groups in (
        ('subject', ['S9', 'S11']),
        ('camera', sorted(CAMERAS)),
        ('action', ['WalkDog', 'Walking']),
        ('joint', list(H36M_JOINTS_MMPOSE)),
    ):
        scores = result.select('paper', by)
        assert [score.group for score in scores] == groups
        weights = [score.frames for score in scores]
        for name, key in (('mpjpe', 'MPJPE'), ('pa_mpjpe', 'PA-MPJPE')):
            mean = np.average([getattr(score, name) for score in scores], weights=weights)
            assert mean == pytest.approx(evaluated[f'good/paper/{key}'])


def test_annotation_in_spins_order_and_millimetres_gives_the_same(samples, regressors):
    expected = evaluate(JointRegressorMetric(regressors), with_vertices(samples))
    index = reorder_index('mmpose', 'spin')
    converted = [
        {**sample, 'keypoints_3d': 1000 * sample['keypoints_3d'].double()[index]}
        for sample in with_vertices(samples)
    ]
    metric = JointRegressorMetric(regressors, joint_order='spin', annotation_unit='mm')
    assert evaluate(metric, converted) == pytest.approx(expected)
    metric = JointRegressorMetric(regressors, annotation_unit='mm')
    metric.dataset_meta = dict(joint_names=[H36M_JOINTS_MMPOSE[i] for i in index])
    assert evaluate(metric, converted) == pytest.approx(expected)


def test_released_j_opt_evaluates_from_one_config_line(shared_data, monkeypatch):
    monkeypatch.setenv('MMJRR_HOME', str(shared_data))
    metric = METRICS.build(dict(type='mmjrr.JointRegressorMetric', regressors='J_opt'))
    rng = np.random.default_rng(0)
    vertices, target = rng.normal(size=(2, 6890, 3)), rng.normal(size=(2, 17, 3))
    names = [image_name(0), image_name(1)]
    result = evaluate(
        metric,
        [
            dict(imgname=name, pred_vertices=v, keypoints_3d=t)
            for name, v, t in zip(names, vertices, target, strict=True)
        ],
    )
    path = shared_data / 'retrained_J_Regressor.pt'
    raw = torch.load(path, map_location='cpu', weights_only=True).detach()
    weight = raw.double().numpy().clip(0)
    weight = weight / weight.sum(1, keepdims=True)
    joints = (weight @ vertices)[:, [0, 4, 5, 6, 1, 2, 3, *range(7, 17)]]  # to MMPose's order
    difference = (joints - joints[:, :1]) - (target - target[:, :1])
    expected = 1000 * np.linalg.norm(difference, axis=-1).mean()
    assert result['J_opt/paper/MPJPE'] == pytest.approx(expected, rel=1e-6)


# -- exactness -------------------------------------------------------------------------------


@pytest.mark.parametrize('parameters', [False, True])
def test_any_split_into_batches_in_any_order_gives_the_same_bits(samples, regressors, parameters):
    inputs = samples if parameters else with_vertices(samples)
    body = BODY if parameters else None
    results = []
    for batch, order in ((1, 1), (5, 1), (23, 1), (7, -1)):
        metric = JointRegressorMetric(regressors, ['paper', 'spin-p1'], body_model=body)
        evaluate(metric, inputs[::order], batch)
        results.append(repr(metric.result.scores))  # every digit; NaN is not equal to itself
    assert all(scores == results[0] for scores in results)


def test_frames_repeated_by_a_sampler_count_once(samples, regressors):
    expected = evaluate(JointRegressorMetric(regressors), with_vertices(samples))
    metric = JointRegressorMetric(regressors)
    metric.process(None, with_vertices(samples) + with_vertices(samples[:3]))
    assert metric.evaluate(len(samples)) == expected
    assert metric.results == []


@pytest.mark.parametrize('parameters', [False, True])
def test_repeated_frames_have_nearly_the_same_prediction(samples, regressors, parameters):
    inputs = samples if parameters else with_vertices(samples)
    metric = JointRegressorMetric(regressors, body_model=BODY)
    expected = evaluate(metric, inputs)
    field = 'pred_body_pose' if parameters else 'pred_vertices'

    def noisy(sample: dict, scale: float) -> dict:
        noise = torch.randn(sample[field].shape, generator=torch.Generator().manual_seed(1))
        return {**sample, field: sample[field] + scale * noise}

    metric.process(None, [noisy(sample, 1e-4) for sample in inputs[:2]])
    assert evaluate(metric, [*inputs[:5], *inputs]) == pytest.approx(expected, abs=0.1)
    assert not metric.result.notes
    several = f'1 frames, such as {image_name(2)!r}, have '
    for again, found in (
        (noisy(inputs[2], 0.1), r'several predictions, whose joints lie up to \d+\.\d mm apart'),
        ({k: v for k, v in inputs[2].items() if k != field}, 'a prediction one time and none anot'),
    ):
        metric = JointRegressorMetric(regressors, body_model=BODY, missing='skip')
        if parameters:
            again = {k: v for k, v in again.items() if field in again or 'pred_' not in k}
        assert evaluate(metric, [*inputs, again]) == expected
        (note,) = metric.result.notes
        assert re.match(several + found, note)
        assert evaluate(metric, [again, *inputs]) != expected  # the first prediction counts


def moved(samples: list[dict], meters: float = 0.05, noise: float = 0.0) -> list[dict]:
    """The samples with other predicted vertices."""
    generator = torch.Generator().manual_seed(1)
    return [
        {
            **sample,
            'pred_vertices': sample['pred_vertices'] * (1 + noise)
            + meters * torch.randn(3, generator=generator),
        }
        for sample in samples
    ]


def test_a_second_pass_with_other_predictions_is_an_error(samples, regressors):
    first = with_vertices(samples[:8])
    second = moved(first, noise=0.1)
    expected = evaluate(JointRegressorMetric(regressors), first)
    message = r'processed several times: 8 frames.* mm apart.*; call evaluate\(\) after each pass'
    with pytest.raises(ValueError, match=message):
        evaluate(JointRegressorMetric(regressors), first + second)
    # Two processes, each of which has the other's frames in the second pass.
    metric = JointRegressorMetric(regressors)
    ranks = [
        [metric.record(None, first[rank::2]), metric.record(None, second[1 - rank :: 2])]
        for rank in range(2)
    ]
    with pytest.raises(ValueError, match=message):
        metric.merged(ranks, 8)
    # Sequences that overlap by half, and a second pass over a few frames.
    for frames in (
        [*first[:4], *second[2:4], *first[4:6], *second[4:6], *first[6:]],
        first + second[:4],
    ):
        assert evaluate(metric, frames) == expected
        (note,) = metric.result.notes
        assert note.startswith('4 frames, such as ')


@pytest.mark.parametrize('world', [2, 5])
def test_padding_that_a_model_predicts_differently_changes_nothing(samples, regressors, world):
    first = with_vertices(samples[:9])
    second = moved(first, noise=0.1)
    metric = JointRegressorMetric(regressors)
    padded = first + second[: -len(first) % world]
    ranks = [[metric.record(None, padded[rank::world])] for rank in range(world)]
    merged = metric.merged(ranks, 9)
    expected = evaluate(JointRegressorMetric(regressors), first)
    assert metric.evaluated(merged).metrics() == expected
    assert merged.notes[0].startswith(f'{len(padded) - 9} frames')


@pytest.mark.parametrize('absolute', [False, True])
def test_another_place_is_another_prediction_only_without_a_root(samples, regressors, absolute):
    first = with_vertices(samples[:4])
    protocol = dict(name='absolute', joints=list(H36M_JOINTS_MMPOSE), root=None)
    metric = JointRegressorMetric(regressors, ['paper', protocol] if absolute else 'paper')
    frames = first + moved(first, 1.0)
    if absolute:
        with pytest.raises(ValueError, match=r'lie up to \d{4}\.\d mm apart'):
            evaluate(metric, frames)
    else:
        assert evaluate(metric, frames) == evaluate(JointRegressorMetric(regressors), first)
        assert not metric.result.notes


def _worker(rank: int, world: int, port: int, folder: str, regressors: dict[str, str]) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'tcp://127.0.0.1:{port}', rank=rank, world_size=world
    )
    samples = make_samples(23)
    metric = JointRegressorMetric(
        regressors, ['paper', 'spin-p2'], body_model=BODY, collect_dir=f'{folder}/collect'
    )
    # As DistributedSampler deals: in turns, padded with the first ones to equal numbers.
    part = [samples[index % 23] for index in range(rank, 24, world)]
    result = evaluate(metric, part, batch=5) if rank == 0 else evaluate(metric, part, batch=3)
    Path(folder, f'{rank}.json').write_text(json.dumps(result))
    metric.process(None, [dict(samples[0], imgname=image_name(0))])  # of the other camera
    try:
        metric.evaluate(1)
    except ValueError as error:
        Path(folder, f'{rank}.error').write_text(str(error))
    torch.distributed.barrier()
    # Taking the group down can wait for ever: gloo's threads want the interpreter lock to let go
    # of their tensors, and the destructor that joins them holds it (PyTorch 2.1).
    os._exit(0)


@pytest.mark.slow
def test_two_processes_give_the_same_bits_as_one(samples, regressors, tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    mp.start_processes(
        _worker, args=(2, port, str(tmp_path), regressors), nprocs=2, start_method='spawn'
    )
    metric = JointRegressorMetric(regressors, ['paper', 'spin-p2'], body_model=BODY)
    single = evaluate(metric, samples)
    for rank in (0, 1):
        assert json.loads((tmp_path / f'{rank}.json').read_text()) == single
        # What fails in the main process fails in all: nobody waits for it.
        assert "protocol 'spin-p2' (14 joints" in (tmp_path / f'{rank}.error').read_text()


# -- in a Runner, in another scope -----------------------------------------------------------

FOREIGN_MODELS = Registry('model', parent=MODELS, scope='thirdparty')
FOREIGN_DATASETS = Registry('dataset', parent=DATASETS, scope='thirdparty')


@FOREIGN_MODELS.register_module()
class ThirdPartyMesh(BaseModel):
    """Returns meshes under its own names, with a batch axis, as PoseDataSample-like elements."""

    def forward(self, inputs, data_samples=None, mode='tensor'):
        for sample, vertices in zip(data_samples, inputs, strict=True):
            sample.pred_instances = InstanceData(verts=vertices[None])
        return data_samples


@FOREIGN_DATASETS.register_module()
class ThirdPartyDataset(torch.utils.data.Dataset):
    metainfo = dict(dataset_name='theirs')

    def __init__(self) -> None:
        self.samples = with_vertices(make_samples(10))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = self.samples[index]
        element = BaseDataElement(metainfo=dict(img_path='/data/' + sample['imgname']))
        element.gt_instances = InstanceData(keypoints_3d=sample['keypoints_3d'][None])
        return dict(inputs=sample['pred_vertices'], data_samples=element)


def test_a_third_partys_model_is_evaluated_in_its_own_scope(regressors, tmp_path, capfd):
    config = Config(
        dict(
            default_scope='thirdparty',
            custom_imports=dict(imports=['mmjrr'], allow_failed_imports=False),
            model=dict(type='thirdparty.ThirdPartyMesh'),
            work_dir=str(tmp_path),
            experiment_name=f'thirdparty_{tmp_path.name}',
            test_dataloader=dict(
                batch_size=4,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=False),
                collate_fn=dict(type='pseudo_collate'),
                dataset=dict(type='thirdparty.ThirdPartyDataset'),
            ),
            test_cfg=dict(),
            test_evaluator=dict(
                type='mmjrr.JointRegressorMetric',
                regressors=regressors,
                # Not needed for vertices: shows that bodies build from any scope.
                body_model=dict(type='FreeBody'),
                fields=dict(vertices='pred_instances.verts'),
            ),
        )
    )
    scopes = DefaultScope._instance_dict.copy()
    try:
        result = Runner.from_cfg(config).test()
    finally:
        DefaultScope._instance_dict = scopes
    expected = evaluate(JointRegressorMetric(regressors), with_vertices(make_samples(10)))
    assert result == pytest.approx(expected, rel=1e-12)
    # MMEngine warns about scopes without a registry of evaluators, visualizers, ...: not ours.
    assert '"body model" registry tree' not in ''.join(capfd.readouterr())


def test_annotation_may_be_in_the_batch_alone(samples, regressors):
    inputs = with_vertices(samples[:6])
    expected = evaluate(JointRegressorMetric(regressors), inputs)
    answers = [{'verts': sample['pred_vertices']} for sample in inputs]
    stacked = {
        'keypoints_3d': torch.stack([sample['keypoints_3d'] for sample in inputs]),
        'imgname': [sample['imgname'] for sample in inputs],
        'sample_idx': torch.tensor([sample['sample_idx'] for sample in inputs]),
    }
    elements = [
        BaseDataElement(
            keypoints_3d=sample['keypoints_3d'], metainfo=dict(imgname=sample['imgname'])
        )
        for sample in inputs
    ]
    for batch in (stacked, {'data_samples': elements}):
        metric = JointRegressorMetric(regressors, fields=dict(vertices='verts'))
        metric.process(batch, answers)
        assert metric.evaluate(6) == expected


# -- where MMPose and others put things ------------------------------------------------------


def nested(sample: dict) -> dict:
    """The sample as MMPose's evaluator hands it over."""
    return dict(
        pred_instances=dict(vertices=sample['pred_vertices'][None]),
        gt_instances=dict(
            lifting_target=sample['keypoints_3d'][None].numpy(),
            lifting_target_visible=np.ones((1, 17), np.float32),
        ),
        target_img_path=np.array([sample['imgname']]),
        id=sample['sample_idx'],
    )


def test_fields_are_found_in_mmposes_samples(samples, regressors):
    inputs = with_vertices(samples)
    expected = evaluate(JointRegressorMetric(regressors), inputs)
    assert evaluate(JointRegressorMetric(regressors), list(map(nested, inputs))) == expected
    for sample in (nested_samples := list(map(nested, inputs))):
        sample['img_path'] = f'/data/{sample.pop("target_img_path")[0]}'
        truth = sample['gt_instances']
        truth['keypoints_3d'] = truth.pop('lifting_target')
        truth['keypoints_3d_visible'] = truth.pop('lifting_target_visible')
        sample['pred_instances']['vertices'] = sample['pred_instances']['vertices'][0]
    assert evaluate(JointRegressorMetric(regressors), nested_samples) == expected


def test_joints_that_mmpose_calls_invisible_are_left_out(samples, regressors):
    (sample,) = with_vertices(samples[:1])
    sample = nested(sample)
    sample['gt_instances']['lifting_target_visible'][0, 10] = 0
    metric = JointRegressorMetric(regressors)
    evaluate(metric, [sample])
    (head, _) = [s for s in metric.result.scores if s.group == 'head']
    assert head.frames == 0 and np.isnan(head.mpjpe)


@pytest.mark.parametrize(
    'place', ['column', 'element', 'mmpose', 'list', 'tuple', 'tuple of inputs', 'tuple of list']
)
def test_a_models_own_joints_are_no_annotation(samples, regressors, place):
    inputs = with_vertices(samples[:6])
    expected = evaluate(JointRegressorMetric(regressors), inputs)
    names = [sample['imgname'] for sample in inputs]
    joints = torch.stack([sample['keypoints_3d'] for sample in inputs])
    batch = {
        'column': {'keypoints_3d': joints, 'imgname': names},
        'element': {'data_samples': [
            BaseDataElement(keypoints_3d=one, metainfo=dict(imgname=name))
            for one, name in zip(joints, names, strict=True)
        ]},
        'mmpose': {'data_samples': [
            {k: v for k, v in nested(sample).items() if k != 'pred_instances'} for sample in inputs
        ]},
        'list': [dict(keypoints_3d=one, imgname=name)
                 for one, name in zip(joints, names, strict=True)],
        'tuple': (torch.zeros(6, 3, 8, 8), {'keypoints_3d': joints, 'imgname': names}),
        'tuple of inputs': ({'imgname': names}, {'keypoints_3d': joints}),
        'tuple of list': (torch.zeros(6, 3), [dict(keypoints_3d=one, imgname=name)
                          for one, name in zip(joints, names, strict=True)]),
    }[place]  # fmt: skip
    regressor = JointRegressor.load('free_body_h36m')
    # The joints of the prediction, and a confidence of each.
    answers = [
        dict(
            pred_vertices=sample['pred_vertices'],
            keypoints_3d=regressor(sample['pred_vertices'][None])[0],
            keypoints_3d_weight=torch.eye(17)[0],
        )
        for sample in inputs
    ]
    metric = JointRegressorMetric(regressors)
    metric.process(batch, answers)
    assert metric.evaluate(6) == expected


def test_joints_that_may_be_a_prediction_are_refused(samples, regressors):
    (answer,) = with_vertices(samples[:1])
    joints = answer['keypoints_3d']
    by_name = dict(data_samples=[dict(imgname=answer['imgname'], pose_3d=joints)])
    images = torch.zeros(1, 3, 8, 8)
    expected = evaluate(JointRegressorMetric(regressors), [answer])
    of_others = [by_name, (images, joints[None]), (images, [by_name]), images, [images[0]], [{}]]
    for batch in of_others:
        with pytest.raises(ValueError, match='found in the model.s output and no annotation in'):
            JointRegressorMetric(regressors).process(batch, [answer])
        metric = JointRegressorMetric(regressors, fields=dict(keypoints_3d='keypoints_3d'))
        metric.process(batch, [answer])
        assert metric.evaluate(1) == expected
    metric = JointRegressorMetric(regressors, fields=dict(keypoints_3d='pose_3d'))
    metric.process(by_name, [answer])
    assert metric.evaluate(1) == expected
    for nothing in (None, {}, []):  # predictions without their batch
        metric = JointRegressorMetric(regressors)
        metric.process(nothing, [answer])
        assert metric.evaluate(1) == expected


@pytest.mark.parametrize('place', ['column', 'element', 'list'])
def test_sequences_of_which_a_model_returns_each_frame(samples, regressors, place):
    inputs = with_vertices(samples[:6])
    expected = evaluate(JointRegressorMetric(regressors), inputs)
    sequences = [
        dict(
            keypoints_3d=torch.stack([one['keypoints_3d'] for one in part]),
            imgname=[one['imgname'] for one in part],
        )
        for part in (inputs[:3], inputs[3:])
    ]
    batch = {
        'column': {name: [one[name] for one in sequences] for name in sequences[0]},
        'element': {'data_samples': sequences},
        'list': sequences,
    }[place]
    message = r'no annotation in the batch.*'
    if place != 'list':
        message += r"; the batch's '(keypoints_3d|data_samples)' has 2 rows for 6 outputs"
    with pytest.raises(ValueError, match=message):
        JointRegressorMetric(regressors).process(batch, inputs)
    for fields, answers in (
        (dict(keypoints_3d='keypoints_3d'), inputs),
        ({}, list(map(nested, inputs))),
    ):
        metric = JointRegressorMetric(regressors, fields=fields)
        metric.process(batch, answers)
        assert metric.evaluate(6) == expected


def test_an_output_at_another_images_place_is_refused(samples, regressors):
    first, second = with_vertices(samples[:2])
    metric = JointRegressorMetric(regressors)
    with pytest.raises(ValueError, match=r"of the image '.*000001.jpg' and the .* of '.*000000.j"):
        metric.process(dict(data_samples=[first, second]), [second, first])
    for name in ('/data/' + first['imgname'], 'S9/WalkDog.54138969/000000.jp2'):  # the same frame
        metric.process(dict(data_samples=[{**first, 'imgname': name}]), [first])


def test_a_data_sets_own_fits_are_no_prediction(samples, regressors):
    own = {name.removeprefix('pred_'): value for name, value in samples[0].items()}
    with pytest.raises(ValueError, match=r"found \['betas', 'body_pose', 'global_orient'"):
        JointRegressorMetric(regressors).process(None, [own])
    # Nor is what the batch holds under a prediction's name.
    truth = with_vertices(samples[:1])[0]
    with pytest.raises(ValueError, match='no prediction'):
        JointRegressorMetric(regressors).process(dict(data_samples=[truth]), [{}])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(pred_instances=dict(keypoints=1)), r"found \[.*'pred_instances.keypoints'"),
        (dict(flip=True), 'the image was mirrored'),
        (dict(target_img_path=['a.jpg', 'b.jpg']), 'target_img_path: found 2 names for a sample'),
        (
            dict(gt_instances=dict(lifting_target=np.zeros((1, 17, 3)))),
            'lifting_target: the pelvis lies at the origin',
        ),
        (
            dict(gt_instances=dict(lifting_target=np.zeros((243, 17, 3)))),
            r'lifting_target: found float64 of shape \(243, 17, 3\)',
        ),
        (
            dict(pred_instances=dict(vertices=np.zeros((2, 6890, 3)))),
            r'pred_instances.vertices: .*found \(2, 6890, 3\)',
        ),
    ],
)
def test_fields_that_mmpose_samples_must_not_have_are_named(samples, regressors, change, message):
    sample = {**nested(with_vertices(samples[:1])[0]), **change}
    with pytest.raises(ValueError, match=message):
        JointRegressorMetric(regressors).process(None, [sample])


#: MMPose's Human3.6M and COCO, as their data sets' metainfo has them.
MMPOSE_NAMES = ['root', 'right_hip', 'right_knee', 'right_foot', 'left_hip', 'left_knee',
                'left_foot', *H36M_JOINTS_MMPOSE[7:]]  # fmt: skip
COCO_NAMES = ['nose', *(f'{side}_{part}' for part in ('eye', 'ear', 'shoulder', 'elbow', 'wrist',
              'hip', 'knee', 'ankle') for side in ('left', 'right'))]  # fmt: skip


def test_the_order_of_the_joints_is_the_metainfos(samples, regressors):
    inputs = with_vertices(samples)
    expected = evaluate(JointRegressorMetric(regressors), inputs)
    for sample in inputs:
        sample['keypoints_3d'] = sample['keypoints_3d'].flip(0)
    metric = JointRegressorMetric(regressors)
    metric.dataset_meta = dict(keypoint_id2name=dict(enumerate(reversed(MMPOSE_NAMES))))
    assert evaluate(metric, inputs) == expected


def test_cocos_17_joints_are_refused_when_the_data_set_is_known(regressors):
    metric = JointRegressorMetric(regressors)
    with pytest.raises(ValueError, match=r"'coco' annotates .*lacks \['pelvis', 'spine', 'thorax'"):
        metric.dataset_meta = dict(
            dataset_name='coco', keypoint_id2name=dict(enumerate(COCO_NAMES))
        )


# -- frames that do not count ----------------------------------------------------------------


def test_frames_that_do_not_count_are_counted_and_change_nothing(samples, regressors):
    inputs = with_vertices(samples)
    protocols = ['paper', 'spin-p2']
    expected = JointRegressorMetric(regressors, protocols)
    evaluate(expected, inputs)
    training = {**inputs[0], 'imgname': image_name(1).replace('S11', 'S1')}
    del training['pred_vertices']  # need not be there
    missing = {**inputs[1], 'imgname': 'S11/x/S11_Directions.54138969_000001.jpg'}
    metric = JointRegressorMetric(regressors, protocols)
    evaluate(metric, [training, *inputs, missing, missing], batch=1)  # one is padding
    assert repr(metric.result.scores) == repr(expected.result.scores)
    assert metric.result.frames == 23 and metric.result.skipped == ()
    both = {'subject': {'S1': 1}, 'sequence': {'S11_Directions.54138969': 1}}
    frontal = sum('60457274' not in sample['imgname'] for sample in inputs)
    assert metric.result.left_out == {
        'paper': both,
        'spin-p2': {**both, 'camera': {'54138969': frontal}},
    }
    assert 'Protocol paper leaves out 2 frames: 1 of subject S1, 1 of seq' in str(metric.result)


@pytest.mark.parametrize(
    'labels',
    [
        dict(camera=torch.tensor([0.9, 0.1, -0.2])),
        dict(camera=np.array([0.9, 0.1, -0.2])),
        dict(camera=[0.9, 0.1, -0.2]),
        dict(camera=0),
        dict(camera=[]),
        dict(subject=(), action=np.array([], object)),
        dict(camera=torch.tensor([0.9])),
        dict(subject=torch.tensor([11])),
        dict(subject=0),
        dict(action=torch.tensor(3)),
    ],
)
def test_what_is_no_text_is_no_label(samples, regressors, labels):
    excluded = {**samples[0], 'imgname': 'S11/x/S11_Directions.54138969_000001.jpg'}
    expected, metric = (JointRegressorMetric(regressors, body_model=BODY) for _ in range(2))
    evaluate(expected, [*samples, excluded])
    evaluate(metric, [{**sample, **labels} for sample in (*samples, excluded)])
    assert repr(metric.result.scores) == repr(expected.result.scores)
    assert metric.result.left_out == {'paper': {'sequence': {'S11_Directions.54138969': 1}}}


def test_a_batchs_text_comes_before_an_outputs_numbers(samples, regressors):
    answer = {**with_vertices(samples[:1])[0], 'camera': torch.ones(3)}
    metric = JointRegressorMetric(regressors, 'spin-p2')
    truth = {**answer, 'camera': np.array(['60457274'])}  # the name says 54138969
    metric.process(dict(data_samples=[truth]), [answer])
    metric.evaluate(1)
    assert metric.result.frames == 1


@pytest.mark.parametrize('place', ['action', 'act'])
def test_whole_numbers_are_labels_of_images_whose_name_tells_none(samples, regressors, place):
    inputs = with_vertices(samples[:2])
    for number, sample in zip((torch.tensor(9), np.array([11])), inputs, strict=True):
        sample.update(imgname=f'{number.item()}.jpg', subject=number, camera=54138969)
        sample.update({place: number - 6})
    protocol = dict(type='paper', exclude_sequences=[])
    metric = JointRegressorMetric(regressors, protocol, fields=dict(action=place))
    evaluate(metric, inputs)
    for by, names in (
        ('subject', ['S9', 'S11']),
        ('camera', ['54138969']),
        ('action', ['3', '5']),
    ):
        assert [score.group for score in metric.result.select(metric.result.scores[0].protocol, by)
                if score.regressor == 'good'] == names  # fmt: skip


@pytest.mark.parametrize(
    ('fields', 'change', 'message'),
    [
        ({}, dict(imgname='1.jpg', subject=1.5), r'subject: found 1.5, expected a text. MMPose'),
        ({}, dict(imgname=torch.zeros(3)), r'0: imgname: found float32 of shape \(3,\), expected'),
        (
            dict(camera='cam'),
            dict(cam=torch.zeros(3)),
            r'cam: found float32 of shape \(3,\), expected the camera as a text',
        ),
        ({}, dict(camera=['a', 'b']), rf'^{re.escape(image_name(0))}: camera: found 2 names for a'),
        ({}, dict(imgname=['a', 'b']), '^batch item 0: imgname: found 2 names for a sample'),
        (
            {},
            dict(imgname=[]),
            r'^batch item 0: imgname: found \[\], expected the name of an image',
        ),
        (dict(camera='cam'), dict(cam=[]), r'cam: found \[\], expected the camera as a text'),
        ({}, dict(sample_idx='abc'), "sample_idx: found 'abc', expected a whole number"),
        ({}, dict(sample_idx=[]), r'sample_idx: found \[\], expected a whole number'),
    ],
)
def test_wrong_names_and_labels_are_named(samples, regressors, fields, change, message):
    sample = {**with_vertices(samples[:1])[0], **change}
    with pytest.raises(ValueError, match=message):
        JointRegressorMetric(regressors, fields=fields).process(None, [sample])


def test_a_protocol_that_leaves_no_frame_names_the_subjects_found(samples, regressors):
    inputs = with_vertices(samples[:2])
    for sample, subject in zip(inputs, ('S1', 'S7'), strict=True):
        sample['subject'] = subject
    with pytest.raises(ValueError, match=r"none of the 2 frames.* of subjects \['S1', 'S7'\]"):
        evaluate(JointRegressorMetric(regressors), inputs)
    metric = JointRegressorMetric(regressors, ALL_SUBJECTS)
    assert set(evaluate(metric, inputs)) == {
        f'{name}/paper-subjects-all/{key}' for name in regressors for key in ('MPJPE', 'PA-MPJPE')
    }


# -- files and messages ----------------------------------------------------------------------


def test_the_out_file_names_the_evaluated_files(samples, regressors, tmp_path):
    out = tmp_path / 'deep' / 'result.json'
    metric = JointRegressorMetric(
        regressors, body_model=BODY, out_file=str(out), title='Mine', prefix='h36m'
    )
    result = evaluate(metric, samples)
    assert set(result) == {
        f'h36m/{name}/paper/{key}' for name in regressors for key in ('MPJPE', 'PA-MPJPE')
    }
    first = out.read_bytes()
    read = json.loads(first)
    assert read['frames'] == 23 and read['title'] == 'Mine'
    provenance = read['provenance']
    assert len(provenance['regressors']['good']['provenance']['file_sha256']) == 64
    assert provenance['protocols']['paper']['root'] == 'pelvis'
    assert provenance['body_model']['file'] == 'free_body.npz'
    evaluate(metric, samples, batch=3)
    assert out.read_bytes() == first


def test_frames_without_a_prediction_raise_or_are_counted(samples, regressors):
    inputs = with_vertices(samples)
    del inputs[4]['pred_vertices']
    with pytest.raises(ValueError, match=f"{image_name(4)}: no prediction: neither 'pred_vert"):
        evaluate(JointRegressorMetric(regressors), inputs)
    metric = JointRegressorMetric(regressors, missing='skip')
    result = evaluate(metric, inputs)
    assert metric.result.skipped == (image_name(4),) and metric.result.frames == 22
    assert '1 frames had no prediction' in str(metric.result)
    assert result == evaluate(JointRegressorMetric(regressors), inputs[:4] + inputs[5:])


def test_a_protocol_that_counts_only_frames_without_a_prediction_has_dashes(samples, regressors):
    inputs = with_vertices(samples)
    alone = dict(type='paper', subjects=['S9'])
    for sample in inputs:
        if sample['imgname'].startswith('S9'):
            del sample['pred_vertices']
    metric = JointRegressorMetric(regressors, protocol=['paper', alone], missing='skip')
    values = evaluate(metric, inputs)
    assert metric.result.without_prediction == ('paper-subjects-S9',)
    for name, value in values.items():
        assert np.isnan(value) == ('paper-subjects-S9' in name)


@pytest.mark.parametrize(
    'change',
    [
        dict(pred_vertices=torch.zeros(6890, 3)),
        dict(pred_vertices=torch.ones(6890, 3)),
        dict(pred_vertices=torch.full((6890, 3), torch.nan)),
        dict(pred_global_orient=torch.zeros(3), pred_body_pose=torch.zeros(69)),
        dict(pred_global_orient=torch.eye(3), pred_body_pose=torch.eye(3).expand(23, 3, 3)),
        {
            f'pred_{name}': torch.full((count,), torch.nan)
            for name, count in (('global_orient', 3), ('body_pose', 69), ('betas', 10))
        },
        dict(pred_betas=torch.full((10,), 21.0)),
    ],
)
def test_what_is_no_body_in_a_file_is_no_prediction(samples, regressors, change):
    inputs = with_vertices(samples) if 'pred_vertices' in change else samples
    if getattr(change.get('pred_body_pose'), 'ndim', 0) == 3:
        inputs = as_matrices(inputs)
    body = None if 'pred_vertices' in change else BODY
    without = evaluate(JointRegressorMetric(regressors, body_model=body), inputs[:4] + inputs[5:])
    inputs = [*inputs[:4], {**inputs[4], **change}, *inputs[5:]]
    metric = JointRegressorMetric(regressors, body_model=body, missing='skip')
    for batch in (4, 1):  # the fifth alone
        assert evaluate(metric, inputs, batch) == without
        assert metric.result.skipped == (image_name(4),)
    metric = JointRegressorMetric(regressors, body_model=body)
    if 'pred_betas' in change and len(change) == 1:  # a bad prediction of a network
        mean = 'good/paper/MPJPE'
        assert evaluate(metric, inputs)[mean] > without[mean] and metric.result.frames == 23
        return
    with pytest.raises(ValueError, match=f"no prediction: 1 of 4 .*{image_name(4)}; missing='skip"):
        evaluate(metric, inputs)


def test_unannotated_joints_are_left_out(samples, regressors):
    inputs = with_vertices(samples[:5])
    expected = JointRegressorMetric(regressors)
    evaluate(expected, inputs)
    for sample in inputs:
        sample['keypoints_3d'] = sample['keypoints_3d'].clone()
        sample['keypoints_3d_weight'] = torch.ones(17)
    inputs[0]['keypoints_3d'][10] = float('nan')
    inputs[0]['keypoints_3d_weight'][10] = 0
    metric = JointRegressorMetric(regressors)
    evaluate(metric, inputs)
    heads = [s for s in metric.result.scores if s.group == 'head']
    assert [s.frames for s in heads] == [4, 4]
    knees = [[s.mpjpe for s in m.result.scores if s.group == 'left_knee'] for m in
             (metric, expected)]  # fmt: skip
    assert knees[0] == knees[1]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(keypoints_3d=None), "no 'keypoints_3d' or 'gt_instances.*lifting_target'; found"),
        (dict(keypoints_3d=torch.zeros(16, 3)), r'keypoints_3d: found float32 of shape \(16, 3\)'),
        (dict(keypoints_3d=torch.full((17, 3), torch.nan)), 'keypoints_3d: found NaN'),
        (dict(keypoints_3d=1e3 * torch.randn(17, 3)), "annotation_unit='mm'"),
        (dict(keypoints_3d_weight=torch.ones(16)), r'weight: found .*\(16,\), expected'),
        (dict(pred_vertices=torch.full((6890, 3), torch.inf)), 'pred_vertices: found NaN'),
        (dict(pred_vertices=torch.zeros(6891, 3)), r'found \(6891, 3\), expected \(6890, 3\)'),
        (dict(pred_vertices=1e3 * torch.randn(6890, 3)), "prediction_unit='mm'"),
    ],
)
def test_bad_vertices_and_annotations_are_named(samples, regressors, change, message):
    sample = {**with_vertices(samples[:1])[0], **change}
    with pytest.raises(ValueError, match=message) as raised:
        JointRegressorMetric(regressors).process(None, [sample])
    assert image_name(0) in str(raised.value)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(pred_betas=None), 'no prediction: neither'),
        (dict(pred_betas=torch.zeros(11)), r'pred_betas: found .*\(11,\), expected .*\(10,\)'),
        (dict(pred_body_pose=torch.zeros(68)), r'pred_body_pose: found shape \(68,\), expected 23'),
        (dict(pred_body_pose=torch.full((69,), torch.inf)), 'pred_body_pose: found NaN or inf'),
        (dict(pred_body_pose=[[0.0], [0.0, 1.0]]), 'pred_body_pose: found a list that is no array'),
        (dict(pred_body_pose=['a'] * 69), r'pred_body_pose: found <U1 of shape \(69,\), expected'),
    ],
)
def test_bad_parameters_are_named(samples, regressors, change, message):
    sample = {**samples[0], **change}
    with pytest.raises(ValueError, match=message) as raised:
        JointRegressorMetric(regressors, body_model=BODY).process(None, [sample])
    assert image_name(0) in str(raised.value)


def test_parameters_take_the_body_of_the_regressors_where_its_files_are(
    samples, regressors, tmp_path, monkeypatch
):
    named = evaluate(JointRegressorMetric(regressors, body_model=BODY), samples)
    assert evaluate(JointRegressorMetric(regressors), samples) == named
    monkeypatch.setenv('MMJRR_HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    weight = JointRegressor.load('free_body_h36m').weight
    of_smpl = JointRegressor(weight, H36M_JOINTS_MMPOSE, 'smpl')
    with pytest.raises(ValueError, match="needs a body: body_model=dict.type='SMPL'"):
        JointRegressorMetric(of_smpl).process(None, samples[:1])
    (tmp_path / 'smpl').mkdir()
    with pytest.raises(FileNotFoundError, match='smpl: no SMPL file .*SMPL_NEUTRAL'):
        JointRegressorMetric(of_smpl).process(None, samples[:1])


def test_two_different_samples_of_one_name_are_refused(samples, regressors):
    inputs = with_vertices(samples[:2])
    for sample in inputs:
        sample['imgname'], sample['sample_idx'] = 'a.jpg', None
    with pytest.raises(ValueError, match="two samples with different joints are both named 'a"):
        evaluate(JointRegressorMetric(regressors, ALL_SUBJECTS), inputs)


def test_samples_without_any_name_keep_their_order_and_lose_their_padding(samples, regressors):
    inputs = with_vertices(samples)
    expected = evaluate(JointRegressorMetric(regressors, ALL_SUBJECTS), inputs)
    for sample in inputs:
        del sample['imgname'], sample['sample_idx']
    metric = JointRegressorMetric(regressors, ALL_SUBJECTS)
    metric.process(None, inputs + inputs[:2])
    assert metric.evaluate(23) == pytest.approx(expected, rel=1e-12)
    assert not metric.result.select('paper-subjects-all', 'subject')  # nothing tells the subject
    with pytest.raises(ValueError, match=r"batch item 0: protocol 'paper' is for the subjects"):
        JointRegressorMetric(regressors).process(None, inputs)


def test_protocol_of_a_camera_needs_frames_of_it(samples, regressors):
    inputs = with_vertices(samples[:2])
    with pytest.raises(ValueError, match=r"'spin-p2' .*60457274.*none of the 2 .*\['54138969'\]"):
        evaluate(JointRegressorMetric(regressors, 'spin-p2'), inputs)


def test_absolute_protocols_need_and_use_the_translation(samples, regressors):
    protocol = dict(name='absolute', joints=list(H36M_JOINTS_MMPOSE), root=None)
    metric = JointRegressorMetric(regressors['good'], protocol, body_model=BODY)
    with pytest.raises(ValueError, match="no 'pred_transl'"):
        metric.process(None, samples[:1])
    inputs = [{**sample, 'pred_transl': torch.tensor([3.0, 3.0, 3.0])} for sample in samples]
    near = evaluate(metric, inputs)['good/absolute/MPJPE']
    inputs = [{**sample, 'pred_transl': torch.zeros(3)} for sample in samples]
    far = evaluate(metric, inputs)['good/absolute/MPJPE']
    assert near < 200 < 1000 * 27**0.5 - 200 < far


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(protocol='p3'), "unknown protocol 'p3'"),
        (dict(protocol=['paper', 'paper']), 'each once'),
        (dict(by=['gender']), "by: found 'gender'"),
        (dict(by='joint'), 'expected a list'),
        (dict(fields=dict(verts='x')), r"fields: unknown \['verts'\]"),
        (dict(missing='ignore'), "missing: found 'ignore'"),
        (dict(annotation_unit='inch'), "annotation_unit: found 'inch'"),
        (dict(out_file='result.txt'), 'ending in .json or .csv'),
    ],
)
def test_bad_arguments_are_refused_at_construction(arguments, message):
    with pytest.raises(ValueError, match=message):
        JointRegressorMetric('free_body_h36m', **arguments)


def test_an_evaluation_without_samples_is_an_error():
    with pytest.raises(ValueError, match='no frame was processed'):
        JointRegressorMetric('free_body_h36m').evaluate(5)


def test_parameters_in_degrees_are_named(samples, regressors):
    degrees = [
        {
            **sample,
            **{
                name: torch.rad2deg(sample[name])
                for name in ('pred_global_orient', 'pred_body_pose')
            },
        }
        for sample in samples
    ]
    metric = JointRegressorMetric(regressors, body_model=BODY, by=[])
    evaluate(metric, degrees)
    assert 'with angles in degrees in place of radians' in ' '.join(metric.result.notes)


def test_vertices_of_another_mesh_are_suspected(samples, regressors):
    meshes = with_vertices(samples)
    for sample in meshes:
        sample['pred_vertices'] = sample['pred_vertices'].flip(0)
    metric = JointRegressorMetric(regressors['good'], by=[])
    evaluate(metric, meshes)
    assert "not be those of the regressors' mesh, 'free_body'" in ' '.join(metric.result.notes)


def test_a_chosen_sequence_that_excludes_no_frame_is_noted(samples, regressors):
    excluding = dict(type='paper', exclude_sequences=['S9_Walkng', 'S11_WalkingDog'])
    metric = JointRegressorMetric(regressors, excluding, by=[])
    evaluate(metric, with_vertices(samples))
    (note,) = metric.result.notes
    assert "'S9_Walkng' excludes no frame; sequences are named like S9_Walking" in note
