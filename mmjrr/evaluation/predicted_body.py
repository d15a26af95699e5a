"""Checks that predictions fit the body model in gender, betas and number of vertices."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from mmjrr.array_types import Array
from mmjrr.body_models import SMPL
from mmjrr.body_models.known_meshes import KNOWN_MESHES
from mmjrr.body_models.smpl_files import GENDERS, KINDS, find_smpl_file, load_smpl_file
from mmjrr.datasets.predictions import Predictions
from mmjrr.errors import DataError
from mmjrr.regressors.zoo import search_folders

from .regressed_joints import further_arguments

#: Number of angles of a hand's 15 rotations.
_NUM_HAND_ANGLES = 45
#: Number of shape components that every file of the SMPL family has. The free body has no more.
_NUM_BETAS = 10

#: Titles of the bodies of the SMPL family.
_FAMILY = tuple(kind.title for kind in KINDS.values())
#: Numbers of components in SMPL-X's large files: all, and those of shape.
_NUM_SMPLX_COMPONENTS, _NUM_SMPLX_BETAS = 400, 300
_OWNERS = {mesh.num_vertices: mesh.owner for mesh in KNOWN_MESHES}

Body = dict[str, Any] | SMPL | None


def body_of(
    part: Predictions, body: Body, gender: str | None = None, num_betas: int | None = None
) -> Body:
    """Return the body with the gender and number of betas of a results file.

    Args:
        part: The predictions.
        body: The body or its config; None if there is none.
        gender: Gender to use in place of the file's.
        num_betas: Number of betas to use in place of the file's.

    Returns:
        The body itself, or its config with ``gender`` and ``num_betas``.

    Raises:
        DataError: The gender or the number of betas does not fit the body; the message names both.
        ValueError: ``gender`` or ``num_betas`` is invalid.
    """
    if gender is not None and gender not in GENDERS:
        raise ValueError(f'gender: found {gender!r}, expected one of {list(GENDERS)}')
    if num_betas is not None and num_betas < 1:
        raise ValueError(f'num_betas: found {num_betas}, expected at least 1')
    if part.vertices is not None or part.betas is None:
        return body
    body = _of_kind(part, body, gender)
    if body is None:
        return body
    body_gender = gender or _gender_of(part)
    if num_betas is not None:
        part = part.with_num_betas(num_betas)
    assert part.betas is not None
    count = part.betas.shape[1]
    name = _name_of(body)
    if name == 'the free body' and body_gender not in (None, 'neutral'):
        raise DataError(
            f'{part.name}: gender: found {body_gender!r}, but the free body has no genders; '
            "gender='neutral' (on the command line, --gender neutral) evaluates the parameters "
            'on it as they are'
        )
    if isinstance(body, SMPL):
        path = body.path or Path(body.name)
        _check_gender(part, body_gender, gender_of_body(body), str(path))
        _check_betas(part, count, body.num_betas, f'the body of {path}')
        return body
    config = dict(body)
    if name == 'another body':
        return config
    if name in _FAMILY:
        config = _with_gender(part, config, body_gender, is_told=gender is not None)
    available = _num_available(config, count)
    _check_betas(part, count, available, name, at_most='num_betas' not in body)
    return {**config, 'num_betas': int(config.get('num_betas', count))}


def gender_of_body(body: nn.Module) -> str | None:
    """Return the gender of a body of the SMPL family; None for other bodies.

    It is the gender in the name of the body's file or, if the name has none, the one that the body
    was built with.
    """
    if not isinstance(body, SMPL):
        return None
    return _gender_in_name((body.path or Path(body.name)).name) or body.gender


def note_unused(
    part: Predictions, gender: str | None = None, num_betas: int | None = None
) -> Predictions:
    """Return predictions with a note if they are vertices, for which the arguments have no effect.

    Args: as :func:`body_of`.
    """
    if part.vertices is None:
        return part
    given = {'gender': gender, 'num_betas': num_betas}
    unused = [name for name, value in given.items() if value is not None]
    return part.without_effect(unused, 'the file holds vertices')


def check_same_body(
    part: Predictions, body: Body, gender: str | None = None, num_betas: int | None = None
) -> None:
    """Check that the body of the first results file is that of a further one.

    Args: as :func:`body_of`; ``body`` is what it returns for the first file.

    Raises:
        DataError: The gender or the number of betas does not fit the body.
        ValueError: ``gender`` or ``num_betas`` is invalid.
    """
    of_part = body_of(part, body, gender, num_betas)
    if not isinstance(body, Mapping) or not isinstance(of_part, Mapping):
        return
    found, expected = (config.get('gender', 'neutral') for config in (of_part, body))
    if found != expected:
        raise DataError(
            f'{part.name}: gender: found {found!r}, expected {expected!r}, that of the first file; '
            f'evaluate the genders one by one, or say gender={expected!r} (on the command line, '
            f'--gender {expected})'
        )


def check_vertices(part: Predictions, num_vertices: int) -> None:
    """Check that predicted vertices are as many as the regressors have columns.

    Raises:
        DataError: The number differs; the message names the body that has it, if known.
    """
    if part.vertices is None or part.vertices.shape[1] == num_vertices:
        return
    count = part.vertices.shape[1]
    advice = {
        10475: "the mapping smplx2smpl of SMPL-X's transfer data carries the regressors to them "
        '(mapping=, on the command line --mapping)',
        18439: "the mapping mhr2smpl of MHR's repository carries the regressors to them (mapping= "
        'and faces=, on the command line --mapping and --faces)',
    }.get(
        count,
        'give the mapping from that mesh (mapping=, on the command line --mapping), or a regressor '
        'for it',
    )
    raise DataError(
        f'{part.name}: vertices: found {count} for each body, '
        f'{_OWNERS.get(count, "the number of no known body")}, expected {num_vertices}, '
        f'{_OWNERS.get(num_vertices, "the columns of the regressors")}, as many as the regressors '
        f'have columns; {advice}'
    )


def body_parameters(
    part: Predictions, body: nn.Module, scale: float | None = None
) -> dict[str, Array]:
    """Return the parameters of predictions as arguments of the body, a row for each body.

    Args:
        part: The predictions, which have parameters.
        body: The body.
        scale: Meters per unit of ``transl``. Default: None, without ``transl``.
    """
    assert part.global_orient is not None and part.body_pose is not None
    assert part.betas is not None
    parameters = {
        'global_orient': part.global_orient[:, None],
        'body_pose': part.body_pose,
        'betas': part.betas,
    }
    if scale is not None and part.transl is not None:
        parameters['transl'] = part.transl * scale
    for name in further_arguments(body):
        if getattr(part, name) is not None:
            parameters[name] = getattr(part, name)
    return parameters


# -- kind --------------------------------------------------------------------------------------


def _of_kind(part: Predictions, body: Body, gender: str | None) -> Body:
    """Return the body, or in place of SMPL the body of SMPL-H or SMPL-X that the file is of.

    Raises:
        DataError: The parameters are SMPL-H's or SMPL-X's, and the body is another one, or there
            is no file of theirs.
    """
    kinds = part.body_kinds
    if 'smpl' in kinds:
        return body
    titles = ' or '.join(KINDS[kind].title for kind in kinds)
    if isinstance(body, SMPL):
        if body.kind in kinds:
            return body
        raise DataError(
            f'{part.name}: body_pose: found 21 rotations, those of {titles}, expected those of '
            f'{KINDS[body.kind].title}'
        )
    config = dict(body or {})
    component = str(config.get('type', 'SMPL')).rsplit('.', 1)[-1]
    if component == 'SMPL':
        kind, path = _find_kind(part, config.get('model_path'), kinds, gender)
        config.update(type=KINDS[kind].component, model_path=str(path))
    elif component not in [KINDS[kind].component for kind in kinds]:
        raise DataError(
            f'{part.name}: body_pose: found 21 rotations, those of {titles}, but the body is '
            f'{component}; give a file or folder of {titles} as the body model'
        )
    hand = part.left_hand_pose
    is_pca = hand is not None and hand.ndim == 2 and hand.shape[1] < _NUM_HAND_ANGLES
    config.setdefault('use_pca', is_pca)
    if is_pca and hand is not None:
        config.setdefault('num_pca_comps', int(hand.shape[1]))
    if part.expression is not None:
        config.setdefault('num_expression_coeffs', int(part.expression.shape[1]))
    return config


def _find_kind(
    part: Predictions, model_path: Any, kinds: Sequence[str], gender: str | None
) -> tuple[str, Path]:
    """Return the kind of the body and its file or folder."""
    stated_gender = gender or _gender_of(part) or 'neutral'
    if model_path is not None and not Path(model_path).is_dir():
        for kind in kinds:
            if KINDS[kind].stem.lower() in re.split(r'[\W_]+', Path(model_path).name.lower()):
                return kind, Path(model_path)
        return kinds[0], Path(model_path)
    folders = search_folders()
    if model_path is not None:
        folders = [Path(model_path), Path(model_path).parent, *folders]
    for folder in folders:
        for kind in kinds:
            try:
                find_smpl_file(folder, stated_gender, kind)
            except FileNotFoundError:
                continue
            return kind, folder
    titles = ' or '.join(KINDS[kind].title for kind in kinds)
    raise DataError(
        f'{part.name}: has parameters of {titles} (21 rotations of the body), and no file of it is '
        f'in {[str(folder) for folder in folders]}; give its file or folder as the body model (on '
        f'the command line, --body-model). {KINDS[kinds[0]].source}'
    )


# -- gender --------------------------------------------------------------------------------------


def _gender_of(part: Predictions) -> str | None:
    if part.gender is None:
        return None
    counts = Counter(
        gender for gender, valid in zip(part.gender, part.is_valid(), strict=True) if valid
    )
    if len(counts) > 1:
        genders = ' and '.join(f'{count} {gender}' for gender, count in sorted(counts.items()))
        raise DataError(
            f'{part.name}: gender: found {genders} bodies, expected one gender in a file; store '
            "each in its own file, or say gender='neutral' (on the command line, --gender neutral)"
        )
    return next(iter(counts), None)


def _with_gender(
    part: Predictions, config: dict[str, Any], gender: str | None, is_told: bool
) -> dict[str, Any]:
    path = Path(str(config.get('model_path', '')))
    if gender is None:
        return config
    if path.is_dir():
        if 'gender' in config:
            _check_gender(part, gender, str(config['gender']), str(path))
        return {**config, 'gender': gender}
    file_gender = _gender_in_name(path.name)
    if file_gender is None and gender != 'neutral' and not is_told:
        raise DataError(
            f'{part.name}: gender: found {gender!r}; the name of {path} does not say its gender. '
            f'If it is that, say gender={gender!r} (on the command line, --gender {gender})'
        )
    if file_gender is not None:
        _check_gender(part, gender, file_gender, str(path))
    return config


def _check_gender(part: Predictions, gender: str | None, expected: str | None, body: str) -> None:
    if gender is not None and gender != expected:
        raise DataError(
            f'{part.name}: gender: found {gender!r}, expected {expected!r}, that of {body}; give '
            f'the folder with files of all genders as the body model, or say gender={expected!r} '
            f'(on the command line, --gender {expected})'
        )


def _gender_in_name(name: str) -> str | None:
    """Return the gender in the name of a body's file; None if the name has none.

    >>> _gender_in_name('basicModel_f_lbs_10_207_0_v1.0.0.pkl'), _gender_in_name('SMPL_NEUTRAL.npz')
    ('female', 'neutral')
    """
    words = set(re.split(r'[\W_]+', name.lower()))
    for gender in GENDERS:
        if words & {gender, gender[0]}:
            return gender
    return None


# -- betas ---------------------------------------------------------------------------------------


def _num_available(config: Mapping[str, Any], count: int) -> int:
    """Return the number of betas that the config sets or, without one, that the body has."""
    if 'num_betas' in config:
        return int(config['num_betas'])
    if count <= _NUM_BETAS or 'model_path' not in config:
        return _NUM_BETAS
    component = str(config['type']).rsplit('.', 1)[-1]
    kind = next(kind for kind, about in KINDS.items() if about.component == component)
    path = find_smpl_file(config['model_path'], config.get('gender', 'neutral'), kind)
    available = int(np.shape(load_smpl_file(path, kind)['shapedirs'])[2])
    if kind == 'smplx':  # the file's components of expression do not count
        return _NUM_BETAS if available < _NUM_SMPLX_COMPONENTS else _NUM_SMPLX_BETAS
    return available


def _check_betas(
    part: Predictions, count: int, available: int, body: str, at_most: bool = False
) -> None:
    if count > available or (count < available and not at_most):
        use = f'; num_betas={available} (on the command line, --num-betas {available}) uses the '
        raise DataError(
            f'{part.name}: betas: found {count} for each body, expected '
            f'{"at most " if at_most else ""}{available}, those of {body}'
            + (f'{use}first {available}' if count > available else '')
        )


def _name_of(body: Mapping[str, Any] | SMPL) -> str:
    if isinstance(body, SMPL):
        return 'the free body' if body.name == 'free_body' else KINDS[body.kind].title
    kind = str(body.get('type', '')).rsplit('.', 1)[-1]
    titles = {about.component: about.title for about in KINDS.values()}
    return {'FreeBody': 'the free body', **titles}.get(kind, 'another body')
