"""A results file's gender and betas choose the body; other bodies are refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmjrr.body_models import FREE_BODY_FILE, SMPL, free_body
from mmjrr.datasets.predictions import Predictions, predictions_from
from mmjrr.errors import DataError
from mmjrr.evaluation.predicted_body import body_of, check_same_body

FREE = dict(type='FreeBody')


def part(num_betas: int = 10, **more: Any) -> Predictions:
    pose = np.full((3, 72), 0.1)
    return predictions_from({'pose': pose, 'betas': np.ones((3, num_betas)), **more}, 'mine.npz')


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of all genders in SMPL's format; the female one has 16 shape components."""
    folder = tmp_path_factory.mktemp('smpl')
    for gender in ('NEUTRAL', 'MALE'):
        shutil.copy(FREE_BODY_FILE, folder / f'SMPL_{gender}.npz')
    arrays = dict(np.load(FREE_BODY_FILE))
    extra = np.zeros((*arrays['shapedirs'].shape[:2], 6), arrays['shapedirs'].dtype)
    arrays['shapedirs'] = np.concatenate([arrays['shapedirs'], extra], 2)
    np.savez(folder / 'SMPL_FEMALE.npz', **arrays)
    shutil.copy(FREE_BODY_FILE, folder / 'mine.npz')
    return folder


def smpl(path: Path, **more: Any) -> dict[str, Any]:
    return dict(type='SMPL', model_path=str(path), **more)


def test_the_gender_and_betas_of_the_file_choose_the_body_in_a_folder(folder: Path) -> None:
    assert body_of(part(), smpl(folder)) == smpl(folder, num_betas=10)
    for gender in ('male', 'female', 'neutral'):
        chosen = body_of(part(gender=gender), smpl(folder))
        assert chosen == smpl(folder, gender=gender, num_betas=10)
    assert body_of(part(16, gender='f'), smpl(folder)) == smpl(
        folder, gender='female', num_betas=16
    )
    assert body_of(part(4), FREE) == dict(FREE, num_betas=4)


def test_arguments_take_precedence_over_the_file(folder: Path) -> None:
    chosen = body_of(part(16, gender='male'), smpl(folder), gender='female', num_betas=12)
    assert chosen == smpl(folder, gender='female', num_betas=12)
    assert body_of(part(gender='male'), FREE, gender='neutral') == dict(FREE, num_betas=10)


def test_further_files_have_the_gender_of_the_first(folder: Path) -> None:
    for first in (part(), part(gender='neutral')):
        body = body_of(first, smpl(folder))
        check_same_body(part(), body)
        check_same_body(part(gender='male'), body, gender='neutral')
        with pytest.raises(DataError, match=r"mine\.npz: gender: found 'male', expected 'neutral'"):
            check_same_body(part(gender='male'), body)
    with pytest.raises(DataError, match="found 'female', expected 'male'"):
        check_same_body(part(gender='female'), body_of(part(gender='male'), smpl(folder)))


@pytest.mark.parametrize(
    ('body', 'stored', 'options', 'message'),
    [
        (FREE, dict(gender='male'), {}, "gender: found 'male', but the free body has no genders"),
        (FREE, {}, dict(gender='female'), "found 'female', but the free body has no genders"),
        ('SMPL_MALE.npz', dict(gender='female'), {}, "'female', expected 'male'.*SMPL_MALE.npz"),
        ('SMPL_NEUTRAL.npz', dict(gender='male'), {}, "found 'male', expected 'neutral'"),
        ('mine.npz', dict(gender='male'), {}, "the name of .*mine.npz does not say its gender"),
        ('', dict(num_betas=16), {}, r'betas: found 16 .*expected at most 10, those of SMPL'),
        ('', dict(num_betas=4), dict(num_betas=6), 'found 4, expected at least num_betas=6'),
        (free_body(), dict(num_betas=8), {}, r'betas: found 8 for each body, expected 10'),
        (free_body(), dict(gender='male'), {}, 'the free body has no genders'),
    ],
)  # fmt: skip
def test_a_body_that_contradicts_the_file_is_refused_with_both_values(
    folder: Path, body: Any, stored: dict, options: dict, message: str
) -> None:
    body = smpl(folder / body) if isinstance(body, str) else body
    with pytest.raises(DataError, match=f'mine.npz: .*{message}'):
        body_of(part(**stored), body, **options)


def test_a_body_itself_is_compared_and_its_files_name_counts(folder: Path) -> None:
    male = SMPL(folder / 'SMPL_MALE.npz')
    assert body_of(part(gender='male'), male) is male
    with pytest.raises(DataError, match="gender: found 'neutral', expected 'male'"):
        body_of(part(gender='neutral'), male)
    assert body_of(part(), smpl(folder / 'mine.npz')) == smpl(folder / 'mine.npz', num_betas=10)


def test_vertices_and_other_bodies_are_not_compared() -> None:
    vertices = predictions_from(
        {'vertices': np.random.default_rng(0).random((2, 20, 3)), 'gender': 'male'}
    )
    assert body_of(vertices, FREE) == FREE
    other = dict(type='AnnyBody')
    assert body_of(part(gender='male'), other) == other
    assert body_of(part(), None) is None
    with pytest.raises(ValueError, match="gender: found 'boy'"):
        body_of(part(), FREE, gender='boy')
    with pytest.raises(ValueError, match='num_betas: found 0'):
        body_of(part(), FREE, num_betas=0)
