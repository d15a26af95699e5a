"""The hook's checks before it starts, and its results compared with those of its parts."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from small_jobs import fits_and_masks

from mmjrr.body_models import free_body
from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.fits import load_fits
from mmjrr.engine import FrameBatchSampler, ResumableSampler, SMPLPseudoGTHook
from mmjrr.engine.first_regressor import initial_fits
from mmjrr.engine.refinement_frames import RefinementFrames
from mmjrr.errors import DataError
from mmjrr.jobs import Identity
from mmjrr.joints import reorder_index
from mmjrr.models.discriminators import FitDiscriminator
from mmjrr.refinement import regressor_fit
from mmjrr.regressors import JointRegressor, fit_joint_regressor

SIZE = (64, 64)
NO_ADVERSARY = dict(terms=dict(adv_pose=False, adv_shape=False))


def make_hook(**options: Any) -> SMPLPseudoGTHook:
    return SMPLPseudoGTHook(**{
        'body_model': dict(type='FreeBody'),
        'renderer': dict(type='ContourSilhouette', image_size=SIZE),
        'refiner': dict(num_iters=2), **options,
    })  # fmt: skip


@pytest.fixture(scope='module')
def dataset(tiny_set: Path) -> H36MFitsDataset:
    return fits_and_masks(tiny_set)


class Changed:
    """The data set with its first item changed."""

    def __init__(self, dataset: H36MFitsDataset, change: Callable[[dict], None]) -> None:
        self.dataset, self.change = dataset, change

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        item = self.dataset[index]
        self.change(item)
        return item

    def imgname(self, index: int) -> str:
        return self.dataset.imgname(index)

    def fit_sample(self, index: int) -> dict:
        raise AssertionError('the fit of J_spin started, though the first sample is bad')


class FakeRunner(SimpleNamespace):
    def __init__(self, dataset: Any, work_dir: Path, **fields: Any) -> None:
        fields = {
            'model': FitDiscriminator(), 'iter': 0, 'seed': 0, '_resume': False,
            '_load_from': None, '_train_loop': None, 'max_iters': len(dataset) // 4, **fields,
        }  # fmt: skip
        fields.setdefault('message_hub', MessageHub(f'test_{id(self)}'))
        batches = FrameBatchSampler(ResumableSampler(dataset, seed=0), 4)
        super().__init__(
            train_dataloader=SimpleNamespace(
                dataset=dataset,
                batch_sampler=batches,
                sampler=batches.sampler,
            ),
            work_dir=str(work_dir),
            cfg=Config(dict(train_dataloader=dict(dataset=dict()))),
            logger=logging.getLogger('t'),
            **fields,
        )


def start(hook: SMPLPseudoGTHook, runner: FakeRunner) -> None:
    try:
        hook.before_run(runner)
        hook.before_train(runner)
    finally:
        hook.after_run(runner)


def test_terms_that_couple_frames_get_the_videos_and_their_frames(
    dataset: H36MFitsDataset,
) -> None:
    rows = list(range(0, len(dataset), 3))
    observed = RefinementFrames.of_dataset(
        dataset, rows, image_size=SIZE, device=torch.device('cpu')
    ).observed
    assert observed.video is not None and observed.frame is not None
    names = [Path(dataset.imgname(row)).stem.rpartition('_') for row in rows]
    assert observed.frame.tolist() == [int(frame) for _, _, frame in names]
    videos = {
        video: number for (video, _, _), number in zip(names, observed.video.tolist(), strict=True)
    }
    assert observed.video.tolist() == [videos[video] for video, _, _ in names]
    assert len(set(videos.values())) == len(videos) > 1


def made(work_dir: Path) -> list[str]:
    """Return the files that a run wrote, without the record of its settings."""
    return [
        path.name for path in work_dir.rglob('*') if path.name not in ('identity.json', 'pseudo_gt')
    ]


def field(name: str, value: Any) -> Callable[[dict], None]:
    return lambda item: item['data_samples'].set_field(value, name)


def without(name: str) -> Callable[[dict], None]:
    return lambda item: item['data_samples'].pop(name)


def mask(value: torch.Tensor | None) -> Callable[[dict], None]:
    return lambda item: item['inputs'].update(mask=value)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (without('betas'), "no 'betas', which comes from the dataset's fits_file"),
        (without('focal_length'), "no 'focal_length', which comes from .*camera_param_file"),
        (field('betas', torch.zeros(9)), r'betas: found shape \(9,\), expected \(10,\)'),
        (field('transl', torch.tensor([0, 0, float('nan')])), 'transl: found NaN'),
        (field('keypoints_3d', torch.full((17, 3), float('inf'))), 'keypoints_3d: found NaN or'),
        (field('keypoints_2d', torch.zeros(24, 2)), r'keypoints_2d: found shape \(24, 2\)'),
        (mask(None), 'there is no mask: set the dataset.s mask_file and load_mask'),
        (mask(torch.zeros(224, 224)), r'mask .*found shape \(224, 224\), expected \(64, 64\)'),
        (mask(torch.full(SIZE, 255.0)), r'mask: found values from 255 to 255'),
        (mask(torch.full(SIZE, float('nan'))), 'mask .*found NaN'),
    ],
)
def test_a_bad_first_sample_is_named_before_anything_long(
    dataset: H36MFitsDataset, tmp_path: Path, change: Callable[[dict], None], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        start(make_hook(), FakeRunner(Changed(dataset, change), tmp_path))
    assert dataset.imgname(0) in str(error.value)
    assert not made(tmp_path)


def test_joints_in_two_orders_are_refused_before_anything_long(dataset, tmp_path: Path) -> None:
    """2D joints in MMPose's order, 3D joints in SPIN's: the legs are swapped."""
    swapped = copy.copy(dataset)
    joints = dataset.annotations.S[:, reorder_index('mmpose', 'spin')]
    swapped.annotations = dataclasses.replace(dataset.annotations, S=joints)
    with pytest.raises(ValueError, match='the legs .*are swapped between S and part'):
        start(make_hook(), FakeRunner(swapped, tmp_path))
    assert not made(tmp_path)


@pytest.mark.parametrize('with_fits', [True, False])
def test_joints_in_spins_order_are_refused_before_anything_long(
    dataset, tmp_path: Path, with_fits: bool
) -> None:
    swapped = copy.copy(dataset)
    order = reorder_index('mmpose', 'spin')
    swapped.annotations = dataclasses.replace(
        dataset.annotations,
        S=dataset.annotations.S[:, order],
        part=dataset.annotations.part[:, order],
    )
    if not with_fits:
        swapped._set_fits(None, np.full(len(swapped.annotations), -1))
    message = (
        'h36m_train.npz: S: the hips point the other way than the shoulders in 24 of 24 .*SPIN'
    )
    with pytest.raises(DataError, match=message):
        start(make_hook(), FakeRunner(swapped, tmp_path))
    assert not made(tmp_path)


def test_fits_of_another_gender_are_refused_before_anything_long(
    tiny_set: Path, tmp_path: Path
) -> None:
    with np.load(tiny_set / 'fits/spin_like_train.npz') as file:
        fits = dict(file)
    count = len(fits['imgname'])
    options: dict[str, Any] = dict(data_root=str(tiny_set), fits_file=str(tmp_path / 'fits.npz'))

    def refined(genders: list[str], **reading: str) -> None:
        np.savez(tmp_path / 'fits.npz', **fits, gender=genders)
        data = H36MFitsDataset(**options, fits_reading=reading)
        start(
            make_hook(
                energy=dict(terms=dict(silhouette=False)), regressor='free_body_h36m',
                check_inputs=False,
            ),
            FakeRunner(data, tmp_path / 'run'),
        )  # fmt: skip

    message = (
        r"fits\.npz: gender: found 'male', but the free body has no genders.*fits_reading\.gen"
    )
    with pytest.raises(DataError, match=message):
        refined(['male'] * count)
    with pytest.raises(DataError, match='found 12 female and 12 male bodies, expected one gender'):
        refined(['female', 'male'] * (count // 2))
    assert not made(tmp_path / 'run')
    refined(['neutral'] * count)
    refined(['male'] * count, gender='neutral')


def test_without_the_silhouette_no_mask_is_needed(dataset, tmp_path: Path) -> None:
    hook = make_hook(
        energy=dict(terms=dict(silhouette=False)),
        regressor='free_body_h36m',
        renderer=None,
        check_inputs=False,
    )
    start(hook, FakeRunner(Changed(dataset, mask(None)), tmp_path))
    assert hook.joint_regressor.joint_names[1] == 'right_hip'


def test_a_data_set_without_fits_is_refused(tmp_path: Path, dataset) -> None:
    with pytest.raises(ValueError, match=r'list has no fit_sample\(\).*H36MFitsDataset'):
        start(make_hook(), FakeRunner([dataset[0]], tmp_path))


def test_discriminators_of_other_shapes_are_refused(dataset, tmp_path: Path) -> None:
    runner = FakeRunner(dataset, tmp_path, model=FitDiscriminator(num_betas=9))
    with pytest.raises(ValueError, match=r'betas: found \(\d+, 10\), expected \(B, 9\)'):
        start(make_hook(), runner)
    runner.model = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match='the model is Linear, expected .*FitDiscriminator'):
        start(make_hook(), runner)


def test_a_calibration_that_does_not_fit_into_memory_is_refused(
    dataset: H36MFitsDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('mmjrr.engine.refinement_start.MAX_CALIBRATION_FRAMES', 23)
    hook = make_hook(energy=NO_ADVERSARY, calibration=dict(rounds=1))
    with pytest.raises(ValueError, match='moments: found None, which are 24 frames; expected at'):
        start(hook, FakeRunner(dataset, tmp_path))
    assert not made(tmp_path)


def test_a_regressor_of_another_body_is_refused(dataset, tmp_path: Path) -> None:
    weight = JointRegressor.load('free_body_h36m').weight
    other = JointRegressor(weight, 'mmpose', body_model='mine').save(tmp_path / 'other.npy')
    with pytest.raises(ValueError, match="for the body 'mine', but body_model is 'free_body'"):
        start(make_hook(regressor=str(other)), FakeRunner(dataset, tmp_path / 'run'))


def test_the_folder_of_another_run_is_refused(dataset, tmp_path: Path) -> None:
    shard = tmp_path / 'pseudo_gt' / 'batch_0000000_rank_000.npz'
    shard.parent.mkdir()
    shard.write_bytes(b'results of days')
    with pytest.raises(FileExistsError, match='add --resume to continue it'):
        start(make_hook(), FakeRunner(dataset, tmp_path))
    assert shard.read_bytes() == b'results of days'


#: Options of a run that learns no regressor.
WITHOUT_SILHOUETTE = dict(terms=dict(adv_pose=False, adv_shape=False, silhouette=False))
NAMED_ALONE = dict(energy=NO_ADVERSARY, regressor='free_body_h36m', learn_regressor=False)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(fit_batch_size=0), 'fit_batch_size: found 0'),
        (dict(fit_batch_size=2.5), 'fit_batch_size: found 2.5, expected an integer'),
        (dict(energy=dict(terms=dict(silhouete=1.0))), r"unknown \['silhouete'\]"),
        (dict(energy=dict(levels=(1, 2))), 'levels'),
        (dict(body_model=dict(type='Skeleton')), 'Skeleton'),
        (dict(refiner=dict(steps=3)), r"refiner: unknown \['steps'\]"),
        (dict(refiner=dict(share=dict(betas='subject'))), 'add calibration=dict'),
        (dict(calibration=dict(rounds=2)), "'adv_pose', 'adv_shape'.* need discriminators"),
        (dict(energy=NO_ADVERSARY, calibration=dict(rounds=0)), 'rounds: found 0'),
        (dict(energy=NO_ADVERSARY, calibration=dict(rounds=2.5)), 'rounds: found 2.5'),
        (dict(energy=NO_ADVERSARY, calibration=dict(moments=1e2)), 'moments: found 100.0'),
        (dict(energy=NO_ADVERSARY, calibration=dict(refiner=dict(x=1))), r"found \['x'\]"),
        (
            dict(energy=NO_ADVERSARY, calibration=dict(refiner=dict(share=dict(pose='frame')))),
            r"calibration: refiner: found \['share'\]",
        ),
        (
            dict(energy=WITHOUT_SILHOUETTE, calibration=dict(max_ratios=dict(silhouete=9))),
            r"max_ratios: unknown \['silhouete'\]",
        ),
        (
            dict(
                energy=dict(terms=dict(NO_ADVERSARY['terms'], joint_3d=False)),
                calibration=dict(max_ratios=dict(silhouette=9)),
            ),
            'max_ratios: found .*, but the term joint_3d is switched off',
        ),
        (
            dict(
                energy=dict(terms=dict(NO_ADVERSARY['terms'], joint_3d=0.0)),
                calibration=dict(max_ratios=dict(silhouette=9)),
            ),
            'max_ratios: found .*, but the term joint_3d .* has weight 0',
        ),
        (dict(learn_regressor=False), 'learn_regressor: found False with regressor=None'),
        (dict(NAMED_ALONE, calibration=dict(moments=4)), 'learn_regressor: .*rounds=3'),
        (
            dict(NAMED_ALONE, root=None, calibration=dict(rounds=1, label_offsets=True)),
            'learn_regressor: .*label_offsets=True',
        ),
        (
            dict(
                energy=WITHOUT_SILHOUETTE,
                refiner=dict(share=dict(outline_offset='subject')),
                calibration=dict(rounds=1),
            ),
            'share: outline_offset: .*no term sees',
        ),
        (dict(init_root='hip'), "init_root: found 'hip'"),
        (dict(root='hip'), "root: found 'hip'"),  # needed after days only
    ],
)
def test_wrong_options_are_named(options: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError), match=message):
        make_hook(**options)


def test_fits_report_the_time_left_in_every_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three passes of 1000 frames, four seconds for 100; none starts with the last one's pace."""
    now = 0.0
    monkeypatch.setattr('time.monotonic', lambda: now)
    lines: list[str] = []
    progress = regressor_fit.FitProgress(1000, 'J_opt', lines.append)
    for stage in ('sum up', 'check', 'check'):
        for done in range(100, 1001, 100):
            now += 4
            progress(stage, done)
    # 8 s are past 5; then once 10 and 20 s more have passed.
    ends = [
        '200 of 1000 frames (J_opt, %s), 0:00:32 left',
        '500 of 1000 frames (J_opt, %s), 0:00:20 left',
    ]
    assert lines == [end % stage for stage in ('sum up', 'check', 'check') for end in ends]


def test_short_fits_are_silent() -> None:
    lines: list[str] = []
    progress = regressor_fit.FitProgress(30, 'J_opt', lines.append)
    for done in (10, 20, 30):
        progress('sum up', done)
    assert not lines


def test_meshes_can_be_gone_through_again_and_leave_joints_without_weight_out(dataset) -> None:
    hook = make_hook()
    (batch,) = initial_fits(dataset, 64)
    batch['keypoints_3d_weight'][3, 5] = 0
    batch['keypoints_3d_weight'][4, 6] = 0.02  # beside 23 labels of weight 1
    meshes = regressor_fit.FittedMeshes(lambda: iter([batch]), hook.body)
    for _ in range(2):
        ((vertices, joints),) = meshes
        assert vertices.shape == (24, 6890, 3)
        parameters = {name: torch.from_numpy(batch[name]) for name in regressor_fit.PARAMETERS}
        torch.testing.assert_close(vertices.of().float(), hook.body(**parameters).vertices)
        missing = torch.isnan(joints).nonzero().tolist()
        assert missing == [[*label, axis] for label in ((3, 5), (4, 6)) for axis in range(3)]
    assert np.isfinite(batch['keypoints_3d']).all()  # a copy was changed


# ------------------------------------------------------------------ a whole run


@pytest.fixture(scope='module')
def run(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work directory of a run in this process: 24 frames in six batches."""
    cfg = Config.fromfile(str(tiny_config))
    cfg.work_dir = str(tmp_path_factory.mktemp('hook') / 'run')
    cfg.experiment_name = cfg.visualizer.name = 'test_pseudo_gt_hook'
    cfg.custom_hooks[0].refiner.num_iters = 2
    Runner.from_cfg(cfg).train()
    return Path(cfg.work_dir)


def vertices_of(fits: dict[str, np.ndarray]) -> torch.Tensor:
    pose = torch.from_numpy(fits['pose'])
    with torch.no_grad():
        return free_body()(
            betas=torch.from_numpy(fits['betas']),
            global_orient=pose[:, :3],
            body_pose=pose[:, 3:],
            transl=torch.from_numpy(fits['transl']),
        ).vertices


def assert_fitted_to(path: Path, fits: dict, joints: np.ndarray, root: str) -> None:
    """The saved regressor is what the solver gives for these bodies and joints."""
    batch = (vertices_of(fits), torch.from_numpy(joints).float())
    expected = fit_joint_regressor([batch], 'mmpose', root=root, body_model='free_body')
    regressor = JointRegressor.load(path)
    assert regressor.body_model == 'free_body'
    difference = (regressor.weight - expected.regressor.weight).float() @ batch[0].mean(0)
    assert float(difference.norm(dim=-1).max()) < 1e-3


@pytest.mark.slow
def test_j_opt_belongs_to_the_exported_pseudo_ground_truth(run: Path, dataset) -> None:
    exported = load_fits(run / 'pseudo_gt.npz')
    assert exported['imgname'].tolist() == [dataset.imgname(i) for i in range(len(dataset))]
    assert_fitted_to(run / 'J_opt.npy', exported, exported['S'][:, :, :3], 'mean')
    for index in (0, 7, 23):
        sample = dataset.fit_sample(index)
        np.testing.assert_array_equal(exported['S'][index, :, :3], sample['keypoints_3d'])
        assert not np.allclose(exported['betas'][index], sample['betas'])  # refined


@pytest.mark.slow
def test_j_spin_belongs_to_the_initial_fits(run: Path, dataset, tiny_set: Path) -> None:
    samples = [dataset.fit_sample(index) for index in range(len(dataset))]
    stacked = {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
    stacked['pose'] = np.concatenate([stacked['global_orient'], stacked['body_pose']], 1)
    assert_fitted_to(run / 'J_spin.npy', stacked, stacked['keypoints_3d'], 'pelvis')


def test_terms_are_balanced_on_a_set_of_frames_and_then_kept(run: Path) -> None:
    """The set is all of these few frames."""
    weights = json.loads((run / 'refinement.json').read_text())['term_weights']
    assert set(weights) == {'joint_3d', 'joint_2d', 'silhouette', 'adv_pose', 'adv_shape'}
    shards = [np.load(path) for path in sorted((run / 'pseudo_gt').glob('batch_*.npz'))]
    assert len(shards) == 6
    for name in ('joint_3d', 'joint_2d', 'silhouette'):  # the discriminators learn
        starts = np.concatenate([shard[f'init_energy_{name}'] for shard in shards])
        assert weights[name] * float(starts.mean()) == pytest.approx(1.0, rel=1e-4)


def test_results_name_the_settings_that_made_them(run: Path) -> None:
    recorded = json.loads((run / 'pseudo_gt' / 'identity.json').read_text())
    summary = json.loads((run / 'refinement.json').read_text())
    described = [
        summary['provenance'],
        load_fits(run / 'pseudo_gt.npz')['provenance'],
        *(JointRegressor.load(run / f'{name}.npy').provenance for name in ('J_spin', 'J_opt')),
    ]
    environment = {'versions', 'device', 'threads', 'results'}
    settings = Identity({name: v for name, v in recorded.items() if name not in environment})
    assert settings.settings['batches'].pop('processes') == 1  # the result is that of any number
    for provenance in described:
        assert provenance['settings_sha256'] == settings.digest
        assert provenance['seed'] == 0 and provenance['config'] == 'tiny.py'
        assert provenance['versions'] == recorded['versions']


def test_the_log_has_no_complaints_and_tells_where_results_are(run: Path) -> None:
    (log,) = run.glob('*/*.log')
    text = log.read_text()
    assert 'Failed to search registry' not in text
    assert '24 frames are too few for a regressor' in text
    assert str(run / 'J_opt.npy') in text and str(run / 'pseudo_gt.npz') in text
    assert 'eta:' in text and 'iou_opt:' in text


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(refiner=dict(lr_mult=dict(pose=2.0))), r"lr_mult: unknown \['pose'\]"),
        (
            dict(energy=NO_ADVERSARY, calibration=dict(refiner=dict(num_iters=0))),
            'calibration: refiner: num_iters: found 0',
        ),
        (
            dict(
                energy=NO_ADVERSARY,
                root=None,
                calibration=dict(rounds=1, moments=1, label_offsets=True),
            ),
            r"label_offsets: found \['S6'\] in moments=1 of the calibration, expected at least two",
        ),
    ],
)
def test_wrong_options_of_the_refiners_are_named_before_anything_long(
    dataset, tmp_path: Path, options: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        start(make_hook(**options), FakeRunner(dataset, tmp_path))
    assert not made(tmp_path)


def test_label_offsets_of_one_subject_are_refused_before_bodies_are_fitted(
    tiny_set: Path, tmp_path: Path
) -> None:
    options = dict(energy=WITHOUT_SILHOUETTE, root=None, calibration=dict(label_offsets=True))
    alone = H36MFitsDataset(data_root=str(tiny_set), fits_file=None, subjects=['S1'])
    with pytest.raises(ValueError, match=r"label_offsets: found \['S1'\] in the data set, expect"):
        start(make_hook(**options), FakeRunner(alone, tmp_path))
    assert not made(tmp_path)


def test_masks_of_another_size_are_refused_without_the_silhouette_term_too(
    dataset, tmp_path: Path
) -> None:
    hook = make_hook(energy=dict(terms=dict(silhouette=False)))
    other = Changed(dataset, mask(torch.zeros(32, 32)))
    with pytest.raises(ValueError, match=r'mask .*found shape \(32, 32\), expected \(64, 64\)'):
        start(hook, FakeRunner(other, tmp_path))
    assert not made(tmp_path)
