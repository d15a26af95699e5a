"""MMPose's own tools, run as its users run them, with the metric added in one line."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mmjrr
from mmjrr.datasets.synthetic import Settings, generate

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TRAIN, TEST = (f'annotation_body3d/fps10/h36m_{split}.npz' for split in ('train', 'test'))
#: The video that the release lacks.
MISSING = 'S11/S11_Directions.54138969/S11_Directions.54138969_000001.jpg'

CONFIG = """
_base_ = [{runtime!r}]
custom_imports = dict(imports={imports!r}, allow_failed_imports=False)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
model = {model!r}
loader = dict(
    batch_size=3,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='Human36mDataset',
        data_root={data_root!r},
        ann_file={ann_file!r},
        data_prefix=dict(img={images!r}),
        camera_param_file={cameras!r},
        metainfo={metainfo!r},
        pipeline={pipeline!r},
        test_mode=True,
    ),
)
test_dataloader = loader
val_dataloader = loader
test_evaluator = {evaluator!r}
val_evaluator = test_evaluator
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='Human36mDataset',
        data_root={data_root!r},
        ann_file={train_file!r},
        pipeline={pipeline!r},
    ),
)
train_cfg = dict(by_epoch=True, max_epochs=4, val_interval=2)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-2))
randomness = dict(seed=0)
"""
#: What a user adds to a config of MMPose's.
ONE_LINE = dict(type='mmjrr.JointRegressorMetric', regressors=['free_body_h36m'])
PACK = dict(type='PackPoseInputs', meta_keys=('id', 'category_id', 'target_img_path'))
LIFTING = [
    dict(
        type='GenerateTarget',
        encoder=dict(type='ImagePoseLifting', num_keypoints=17, root_index=0, remove_root=True),
    ),
    PACK,
]


@pytest.fixture(scope='module')
def data(mmpose_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """S1, S9 and S11 of the synthetic set, a frame from each camera, with images."""
    folder = tmp_path_factory.mktemp('data')
    settings = Settings(seed=3, subjects=('S1', 'S9', 'S11'), frames_per_subject=1)
    generate(folder, settings, workers=1, progress=False)
    return folder


@pytest.fixture(scope='module')
def mixed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same frames in one test annotation, a frame of S11 under the missing video's name."""
    folder = tmp_path_factory.mktemp('mixed')
    (folder / TEST).parent.mkdir(parents=True)
    for names, target in (
        ((TRAIN, TEST), folder / TEST),
        (('fits/spin_like_train.npz', 'fits/spin_like_test.npz'), folder / 'fits.npz'),
    ):
        parts = [dict(np.load(data / name)) for name in names]
        keys = [key for key, array in parts[0].items() if array.ndim]
        arrays = {key: np.concatenate([part[key] for part in parts]) for key in keys}
        of_s11 = [name.startswith('S11/') and '.54138969' in name for name in arrays['imgname']]
        arrays['imgname'] = np.where(of_s11, MISSING, arrays['imgname'])
        assert sum(of_s11) == 1
        np.savez(target, **arrays)
    return folder


@pytest.fixture
def run(
    mmpose_folder: Path, tmp_path: Path, one_thread: dict[str, str]
) -> Callable[..., tuple[dict[str, float], str]]:
    """Run one of MMPose's tools on a config; returns the metrics and everything printed."""
    # Without compiled operators, mmpose.models imports only with this project's shim. If another
    # test has loaded the shim in this process, it has their name, so only files tell.
    mmcv = importlib.util.find_spec('mmcv')
    assert mmcv is not None
    folders = mmcv.submodule_search_locations
    compiled = PathFinder.find_spec('mmcv._ext', folders) is not None
    shim = [] if compiled else ['mmjrr.segmentation.with_mmdet']

    def run(
        settings: dict[str, Any],
        tool: str = 'test.py',
        checkpoint: Path | None = None,
        fails: bool = False,
    ) -> tuple[dict[str, float], str]:
        settings = {
            'runtime': str(mmpose_folder / 'configs/_base_/default_runtime.py'),
            'imports': [*shim, 'mmjrr', 'mmpose_mesh_models'],
            'images': 'images/',
            'ann_file': TEST,
            'train_file': TRAIN,
            'cameras': None,
            'metainfo': None,
            'evaluator': ONE_LINE,
            'pipeline': LIFTING,
            **settings,
        }
        config, out = tmp_path / 'config.py', tmp_path / 'metrics.json'
        config.write_text(CONFIG.format(**settings))
        command = [sys.executable, str(mmpose_folder / 'tools' / tool), str(config)]
        if tool == 'test.py':
            if checkpoint is None:
                checkpoint = tmp_path / 'checkpoint.pth'
                torch.save(dict(state_dict=dict(unused=torch.zeros(()))), checkpoint)
            command += [str(checkpoint), '--out', str(out)]
        done = subprocess.run(
            [*command, '--work-dir', str(tmp_path / 'work')],
            env={**one_thread, 'PYTHONPATH': os.pathsep.join([str(ROOT), str(HERE)])},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        printed = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, printed[-5000:]
        assert 'Failed to search registry' not in printed
        return (json.loads(out.read_text()) if out.exists() else {}), printed

    return run


def stored(output: str, bodies: Path, preprocessor: str = 'mmengine.BaseDataPreprocessor') -> dict:
    return dict(
        type='StoredMesh',
        bodies=str(bodies),
        output=output,
        data_preprocessor=dict(type=preprocessor),
    )


def test_one_protocol_gives_one_number_whichever_way_it_is_computed(
    run: Callable, mixed: Path, tmp_path: Path, one_thread: dict[str, str]
) -> None:
    """MMPose's test.py, ``mmjrr.evaluate`` and eval_predictions, on data of more than it counts."""
    with np.load(mixed / TEST) as file:
        uncounted = {Path(n).name.split('.')[0] for n in file['imgname'] if n.startswith('S1/')}
    theirs = [
        dict(type='MPJPE', mode=mode, skip_list=[*uncounted, 'S11_Directions'])
        for mode in ('mpjpe', 'p-mpjpe')
    ]
    metrics, printed = run(
        dict(
            model=stored('vertices', mixed / 'fits.npz'),
            data_root=str(mixed),
            evaluator=[ONE_LINE, *theirs],
        )
    )
    ours = {key: value for key, value in metrics.items() if key.startswith('free_body_h36m/')}
    assert set(ours) == {'free_body_h36m/paper/MPJPE', 'free_body_h36m/paper/PA-MPJPE'}
    # Of MMPose's own metric, in meters, as an independent source.
    for key, other in (('MPJPE', 'MPJPE'), ('PA-MPJPE', 'P-MPJPE')):
        expected = 1000 * metrics[other]
        assert ours[f'free_body_h36m/paper/{key}'] == pytest.approx(expected, rel=1e-5)
    for table in ('By subject', 'By action', 'By camera', 'By joint'):
        assert table in printed
    left_out = (
        'Protocol paper leaves out 5 frames: 4 of subject S1, 1 of sequence S11_Directions.54138969'
    )
    assert left_out in printed

    from mmjrr.body_models import free_body

    with np.load(mixed / 'fits.npz') as file:
        names, pose, betas = (torch.from_numpy(file[k]) if k != 'imgname' else file[k].tolist()
                              for k in ('imgname', 'pose', 'betas'))  # fmt: skip
    vertices = free_body()(betas, pose[:, 3:], pose[:, :3]).vertices.numpy()
    np.savez(tmp_path / 'meshes.npz', imgname=names, vertices=vertices)
    result = mmjrr.evaluate(tmp_path / 'meshes.npz', mixed, 'free_body_h36m')
    assert result.metrics() == ours
    assert left_out in str(result)
    assert (result.frames, len(result.skipped), len(result.unmatched)) == (7, 0, 5)
    done = subprocess.run(
        [
            sys.executable, 'tools/eval_predictions.py', str(tmp_path / 'meshes.npz'),
            '--annotations', str(mixed), '--regressor', 'free_body_h36m',
            '--out', str(tmp_path / 'command.json'),
        ],
        cwd=ROOT, env=one_thread, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    command = json.loads((tmp_path / 'command.json').read_text())
    assert command['metrics'] == ours
    assert command['left_out'] == {
        'paper': {'subject': {'S1': 4}, 'sequence': {'S11_Directions.54138969': 1}}
    }
    assert left_out in done.stdout


@pytest.mark.parametrize('output', ['parameters', 'top'])
def test_images_and_parameters_through_a_top_down_pipeline(
    run: Callable, data: Path, output: str
) -> None:
    pipeline = [
        dict(type='FrameOfVideo', image_root=str(data / 'images')),
        dict(type='LoadImage'),
        dict(type='TopdownAffine', input_size=(64, 64)),
        dict(type='PackPoseInputs'),
    ]
    fits = data / 'fits/spin_like_test.npz'
    metrics, _ = run(
        dict(
            model=stored(output, fits, 'PoseDataPreprocessor'),
            data_root=str(data),
            pipeline=pipeline,
        )
    )
    assert metrics == mmjrr.evaluate(fits, data, 'free_body_h36m').metrics()


def test_a_model_trained_by_mmposes_train_tests_as_it_was_validated(
    run: Callable, data: Path, tmp_path: Path
) -> None:
    settings = dict(
        model=dict(
            type='LiftingMesh', data_preprocessor=dict(type='mmengine.BaseDataPreprocessor')
        ),
        data_root=str(data),
        pipeline=[
            dict(
                type='GenerateTarget',
                encoder=dict(type='ImagePoseLifting', num_keypoints=17, reshape_keypoints=False),
            ),
            PACK,
        ],
    )
    _, printed = run(settings, 'train.py')
    losses = [float(value) for value in re.findall(r' loss: ([\d.]+)', printed)]
    assert len(losses) == 4 and losses[-1] < losses[0]
    validated = re.findall(r'free_body_h36m/paper/MPJPE: ([\d.]+)', printed)
    assert len(validated) == 2
    metrics, _ = run(settings, checkpoint=tmp_path / 'work/epoch_4.pth')
    assert metrics['free_body_h36m/paper/MPJPE'] == pytest.approx(float(validated[-1]), abs=1e-3)


def test_four_real_frames_of_other_subjects_count_where_the_protocol_says_so(
    run: Callable, shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / 'h36m_mini'
    with np.load(folder / 'test_h36m.npz') as file:
        np.savez(
            tmp_path / 'bodies.npz',
            imgname=file['imgname'],
            pose=file['pose'].astype('f4'),
            betas=np.zeros((4, 10), 'f4'),
        )
    settings = dict(
        model=stored('parameters', tmp_path / 'bodies.npz'),
        data_root=str(folder),
        ann_file='test_h36m_body3d.npz',
        images='',
    )
    evaluator = dict(ONE_LINE, protocol=dict(type='paper', subjects='all'))
    metrics, printed = run(dict(settings, evaluator=evaluator))
    assert (
        metrics
        == mmjrr.evaluate(
            tmp_path / 'bodies.npz',
            folder / 'test_h36m_body3d.npz',
            'free_body_h36m',
            dict(type='paper', subjects='all'),
        ).metrics()
    )
    assert set(metrics) == {
        'free_body_h36m/paper-subjects-all/MPJPE', 'free_body_h36m/paper-subjects-all/PA-MPJPE',
    }  # fmt: skip
    assert all(f'\n{subject} ' in printed for subject in ('S1', 'S5', 'S7', 'S8'))
    _, printed = run(settings, fails=True)
    assert "frames, which are of subjects ['S1', 'S5', 'S7', 'S8']" in printed


def test_a_codecs_label_is_no_annotation(run: Callable, data: Path) -> None:
    encoder = dict(type='MotionBERTLabel', num_keypoints=17, concat_vis=True, rootrel=True)
    settings = dict(
        model=stored('parameters', data / 'fits/spin_like_test.npz'),
        data_root=str(data),
        cameras='annotation_body3d/cameras.pkl',
        pipeline=[dict(type='GenerateTarget', encoder=encoder), PACK],
    )
    _, printed = run(settings, fails=True)
    assert 'gt_instances.lifting_target: the pelvis lies at the origin' in printed


def test_cocos_joints_are_refused_before_the_first_batch(
    run: Callable, data: Path, mmpose_folder: Path
) -> None:
    settings = dict(
        model=stored('parameters', data / 'fits/spin_like_test.npz'),
        data_root=str(data),
        metainfo=dict(from_file=str(mmpose_folder / 'configs/_base_/datasets/coco.py')),
    )
    _, printed = run(settings, fails=True)
    assert "the data set 'coco' annotates ['nose', 'left_eye'" in printed
    assert "lacks ['pelvis'" in printed
