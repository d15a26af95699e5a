"""Regressor-attributable error, where the truth is known."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from mmjrr.errors import DataError
from mmjrr.evaluation import Predictions
from mmjrr.evaluation.attribution import FITTED, attribute_error
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.regressors import JointRegressor, MeshMapping
from mmjrr.visualization.attribution_figure import draw_attribution

VERTICES = 40


class World:
    """Random meshes of two subjects, and labels that a known regressor makes of them."""

    def __init__(self, folder: Path, subjects=('S9', 'S11'), frames: int = 80) -> None:
        rng = np.random.default_rng(0)
        self.rng = rng
        count = frames * len(subjects)
        self.vertices = rng.normal(0, 0.3, (count, VERTICES, 3)) + [0, 0, 5]
        weights = rng.dirichlet(np.full(VERTICES, 0.1), 17)
        self.truth = JointRegressor(weights, H36M_JOINTS_MMPOSE, 'toy', {'name': 'true'})
        joints = self.truth(torch.from_numpy(self.vertices)).numpy()
        self.names = [
            f'{s}/{s}_Walking.54138969/{s}_Walking.54138969_{n + 1:06d}.jpg'
            for s in subjects
            for n in range(frames)
        ]
        self.annotation = folder / 'h36m_test.npz'
        np.savez(
            self.annotation,
            imgname=np.array(self.names),
            center=np.full((count, 2), 500.0),
            scale=np.full(count, 4.0),
            part=np.zeros((count, 17, 3)),
            S=np.concatenate([joints, np.ones((count, 17, 1))], axis=-1),
        )

    def predictions(self, noise: float = 0.0) -> Predictions:
        vertices = self.vertices + self.rng.normal(0, noise, self.vertices.shape)
        return Predictions(imgname=list(self.names), vertices=vertices.astype(np.float32))

    def biased(self) -> JointRegressor:
        weights = self.truth.weight.numpy().copy()
        weights += 0.3 * self.rng.dirichlet(np.full(VERTICES, 0.1), 17)
        weights /= weights.sum(1, keepdims=True)
        return JointRegressor(weights, H36M_JOINTS_MMPOSE, 'toy', {'name': 'own'})


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp('world'))


@pytest.mark.slow
def test_exact_meshes_have_only_the_error_of_the_biased_regressor(world):
    attribution = attribute_error(world.predictions(), world.annotation, world.biased(), [])
    assert attribution.overall('own').mpjpe > 10
    assert attribution.fraction > 0.99 and attribution.best == FITTED
    removed = attribution.overall('own').mpjpe - attribution.overall(FITTED).mpjpe
    assert attribution.sentence().startswith(f'Up to {removed:.1f} mm (100 %) of the ')
    assert attribution.folds['S9']['fitted_on'] == ['S11']
    assert attribution.folds['S9']['frames'] == 80


@pytest.mark.slow
def test_a_fit_that_starts_from_a_few_of_the_frames_finds_the_same(tmp_path: Path, monkeypatch):
    world = World(tmp_path)
    arguments = world.predictions(), world.annotation, world.biased(), []
    usual = attribute_error(*arguments)
    monkeypatch.setattr('mmjrr.regressors.fitting.fit._SAMPLE_FRAMES', 20)
    again = attribute_error(*arguments)
    assert again.folds['S9']['frames'] == usual.folds['S9']['frames'] == 80
    assert again.overall(FITTED).mpjpe == pytest.approx(usual.overall(FITTED).mpjpe, abs=1e-3)


@pytest.mark.slow
def test_noisy_meshes_have_no_error_of_the_true_regressor(world):
    attribution = attribute_error(world.predictions(noise=0.1), world.annotation, world.truth, [])
    own, fitted = attribution.overall('true'), attribution.overall(FITTED)
    # A fit on the tried subject would seem better: it follows the noise.
    assert fitted.mpjpe >= own.mpjpe > 10
    assert attribution.fraction == 0 and attribution.best == 'true'
    assert attribution.sentence().startswith('No tested regressor improves on true')


@pytest.mark.slow
def test_another_regressor_may_be_the_best(world):
    attribution = attribute_error(
        world.predictions(noise=0.1),
        world.annotation,
        world.biased(),
        [world.truth],
    )
    assert attribution.regressors == ['own', 'true', FITTED] and attribution.best == 'true'
    own, true = attribution.overall('own').mpjpe, attribution.overall('true').mpjpe
    assert attribution.fraction == pytest.approx((own - true) / own)
    assert (
        attribution.sentence().startswith('Up to')
        and 'the bound may rise' in attribution.sentence()
    )


@pytest.mark.slow
def test_a_bias_of_the_model_counts_too_so_it_is_only_a_bound(world):
    # Every mesh is wrong in the same way: the truth is a mean of its vertices. The true regressor
    # is without fault here, and yet another one does without any error.
    mixing = 0.7 * np.eye(VERTICES) + 0.3 * np.roll(np.eye(VERTICES), 1, axis=1)
    meshes = np.einsum('vw,nwc->nvc', np.linalg.inv(mixing), world.vertices)
    made_up = JointRegressor(
        world.truth.weight.numpy() @ mixing, H36M_JOINTS_MMPOSE, 'toy', {'name': 'made up'}
    )
    predictions = Predictions(imgname=list(world.names), vertices=meshes.astype(np.float32))
    attribution = attribute_error(predictions, world.annotation, world.truth, [made_up])
    assert attribution.overall('true').mpjpe > 10 and attribution.fraction > 0.99
    sentence = attribution.sentence()
    assert sentence.startswith('Up to') and 'This is an upper bound' in sentence
    pa = [attribution.overall(name).pa_mpjpe for name in ('true', attribution.best)]
    assert f'PA-MPJPE: {pa[0]:.1f} to {pa[1]:.1f} mm' in sentence


@pytest.mark.slow
def test_the_fitted_scores_are_means_over_all_frames(world):
    predictions = world.predictions(noise=0.05)
    attribution = attribute_error(predictions, world.annotation, world.biased(), [])
    assert attribution.frames == attribution.overall(FITTED).frames == 160
    joints = attribution.by_joint(FITTED)
    assert list(joints) == list(H36M_JOINTS_MMPOSE)
    # MPJPE of the protocol is the mean over its joints.
    mean = np.mean([score.mpjpe for score in joints.values()])
    assert attribution.overall(FITTED).mpjpe == pytest.approx(mean)
    text = str(attribution)
    assert f'{attribution.overall("own").mpjpe:.1f}' in text and attribution.sentence() in text


def test_each_error_is_a_mean_over_the_frames_and_joints_that_have_it(tmp_path: Path):
    """S9 has a root in every fourth frame; the protocol aligns joints that it does not score."""
    world = World(tmp_path, frames=12)
    annotated = dict(np.load(world.annotation))
    annotated['S'][:12][np.arange(12) % 4 != 0, 0, 3] = 0
    np.savez(world.annotation, **annotated)
    protocol = {'name': 'hips', 'joints': ['left_hip', 'head'], 'pa_joints': ['head', 'left_knee',
                'right_knee', 'thorax']}  # fmt: skip
    attribution = attribute_error(
        world.predictions(0.1), world.annotation, world.biased(), [], protocol
    )
    joints = {name: attribution.by_joint(name) for name in attribution.regressors}
    for scores in joints.values():
        assert not {'left_hip', 'head'} - set(scores) and np.isnan(scores['left_knee'].mpjpe)
        # Frames with a root: 3 of S9 and 12 of S11.
        assert scores['left_hip'].frames == 15 and np.isnan(scores['left_hip'].pa_mpjpe)
    # Each frame with a root has both joints, so that MPJPE is the mean of theirs.
    fitted = joints[FITTED]
    assert fitted['left_hip'].mpjpe > 1
    assert attribution.overall(FITTED).mpjpe == pytest.approx(
        (fitted['left_hip'].mpjpe + fitted['head'].mpjpe) / 2
    )
    row = next(line for line in str(attribution).splitlines() if line.startswith('left_knee'))
    assert row.split() == ['left_knee', '–', '–', '–']
    assert attribution.to_dict()['joints'][FITTED]['left_knee'] is None


@pytest.mark.slow
def test_files_are_read_and_persons_chosen_as_in_an_evaluation(world, tmp_path: Path):
    """A second person in every third image, first in the file; one image has nobody."""
    plain = world.predictions()
    meshes = {}
    for row, (name, body) in enumerate(zip(world.names, plain.vertices, strict=True)):
        persons = [body + 0.1, body] if row % 3 == 0 else [body]
        persons[0] = persons[0] * np.array([1, -1, 1]) if row % 3 == 0 else persons[0]
        meshes[Path(name).stem] = {'vertices': np.stack(persons)}
    meshes[Path(world.names[5]).stem]['vertices'] = np.zeros((1, VERTICES, 3))
    (tmp_path / 'meshes.pkl').write_bytes(pickle.dumps(meshes))
    fields = {'imgname': '*.@', 'vertices': '*.vertices'}
    attribution = attribute_error(
        tmp_path / 'meshes.pkl', world.annotation, world.truth, [], fields=fields
    )
    assert attribution.frames == len(world.names) - 1
    assert attribution.overall('true').mpjpe == pytest.approx(0, abs=1e-3)  # float32


@pytest.mark.slow
def test_an_attribution_is_written_and_drawn(world, tmp_path: Path):
    attribution = attribute_error(world.predictions(), world.annotation, world.biased(), [])
    saved = json.loads(attribution.save(tmp_path / 'attribution.json').read_text())
    assert saved['fraction'] == attribution.fraction and saved['joints']['own']['head'] > 0
    assert saved['provenance']['versions'] and saved['folds']['S11']['gap'] <= 1e-6
    picture = draw_attribution(attribution, tmp_path / 'attribution.png')
    assert picture.read_bytes().startswith(b'\x89PNG')
    for path, refuse in ((tmp_path / 'attribution.txt', attribution.save),):
        with pytest.raises(ValueError, match=r'attribution\.txt'):
            refuse(path)
    with pytest.raises(ValueError, match=r'attribution\.jpeg'):
        draw_attribution(attribution, tmp_path / 'attribution.jpeg')


def test_one_subject_is_too_few(tmp_path: Path):
    world = World(tmp_path, subjects=('S9',), frames=5)
    with pytest.raises(DataError, match='at least two subjects'):
        attribute_error(world.predictions(), world.annotation, world.truth, [])


def test_an_unknown_way_to_match_is_refused(world):
    with pytest.raises(ValueError, match="match: found 'nome'"):
        attribute_error(world.predictions(), world.annotation, world.truth, [], match='nome')


@pytest.mark.slow
def test_meshes_of_another_kind_in_centimeters_are_attributed_by_a_mapping(world):
    predictions = world.predictions(0.01)
    rows = world.rng.permutation(2 * VERTICES)[:VERTICES]
    others = world.rng.normal(size=(len(predictions), 2 * VERTICES, 3)).astype(np.float32)
    others[:, rows] = 100 * predictions.vertices
    mapping = MeshMapping(np.eye(2 * VERTICES)[rows], 'other', 'toy')
    own = world.biased()
    plain = attribute_error(predictions, world.annotation, own, [])
    result = attribute_error(
        Predictions(imgname=list(world.names), vertices=others), world.annotation, own, [],
        unit='cm', mapping=mapping,
    )  # fmt: skip
    assert result.overall('own').mpjpe == pytest.approx(plain.overall('own').mpjpe, abs=1e-3)
    assert result.overall(FITTED).mpjpe < 1.1 * plain.overall(FITTED).mpjpe
    assert "own: carried from the mesh 'toy' to 'other'" in str(result)
