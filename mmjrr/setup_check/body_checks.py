"""Checks of bodies, regressors and renderers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mmjrr.downloads import FILES
from mmjrr.errors import DataError
from mmjrr.regressors.zoo import ZOO, search_folders
from mmjrr.setup_check.finding import Finding, as_path, look_up
from mmjrr.setup_check.package_checks import import_version
from mmjrr.setup_check.registration import register_check
from mmjrr.setup_check.remedies import download_command, remedy


@register_check('SMPL')
def _smpl(part: Mapping[str, Any]) -> Iterator[Finding]:
    path = as_path('model_path', part.get('model_path', ''))
    if path.suffix not in ('.pkl', '.npz'):
        path /= f'SMPL_{str(part.get("gender", "neutral")).upper()}.pkl'
    yield from _of_family(part, 'smpl', download_command(FILES['smpl'], path))


@register_check('SMPLH')
def _smplh(part: Mapping[str, Any]) -> Iterator[Finding]:
    return _of_family(part, 'smplh')


@register_check('SMPLX')
def _smplx(part: Mapping[str, Any]) -> Iterator[Finding]:
    return _of_family(part, 'smplx')


def _of_family(part: Mapping[str, Any], kind: str, fix: str | None = None) -> Iterator[Finding]:
    from mmjrr.body_models.smpl_files import KINDS, find_smpl_file, load_smpl_file

    path = as_path('model_path', part.get('model_path', ''))
    gender = part.get('gender', 'neutral')

    def look() -> str:
        file = find_smpl_file(path, gender, kind)
        data = load_smpl_file(file, kind)
        betas = data['shapedirs'].shape[2]
        num_betas = part.get('num_betas', 10)
        if num_betas > betas:
            raise DataError(f'{file}: found {betas} shape components, expected {num_betas}')
        return f'{file.name}: {len(data["v_template"])} vertices, {betas} shape components'

    yield look_up('body', path, look, fix or KINDS[kind].source)


@register_check('FreeBody')
def _free_body(part: Mapping[str, Any]) -> Iterator[Finding]:
    from mmjrr.body_models import FREE_BODY_FILE, load_smpl_file

    def look() -> str:
        return f'{len(load_smpl_file(FREE_BODY_FILE)["v_template"])} vertices, in the package'

    yield look_up('body', 'free_body', look, 'pip install -e .')


@register_check('JointRegressorMetric')
def _metric(part: Mapping[str, Any]) -> Iterator[Finding]:
    regressors = part.get('regressors') or ()
    if isinstance(regressors, str) or (isinstance(regressors, Mapping) and 'path' in regressors):
        regressors = [regressors]
    elif isinstance(regressors, Mapping):
        regressors = list(regressors.values())
    for entry in regressors:
        yield _regressor(entry)


@register_check('SMPLPseudoGTHook')
def _pseudo_gt(part: Mapping[str, Any]) -> Iterator[Finding]:
    if part.get('regressor') is not None:
        yield _regressor(part['regressor'])


def _regressor(entry: Any) -> Finding:
    from mmjrr.evaluation.regressed_joints import load_regressors

    name = entry
    if isinstance(entry, Mapping):
        name = entry.get('path') or entry.get('path_or_name')

    def look() -> str:
        regressor = next(iter(load_regressors([entry]).values()))
        published = ZOO.get(str(name))
        is_published = published is not None and published.sha256 is not None
        return (
            f'{regressor.provenance["file"]}: {regressor.num_joints} joints of the body '
            f'{regressor.body_model!r}, sha256 {regressor.provenance["file_sha256"][:8]}'
            + (' (as published)' if is_published else '')
        )

    return look_up('regressor', name, look, _fix_of_regressor(str(name)))


def _fix_of_regressor(name: str) -> str:
    """Return the command or page that provides a regressor."""
    if name in FILES:
        return download_command(FILES[name], search_folders()[-1] / FILES[name].path)
    if name == 'J_spin':
        run = 'contour_100it_h36m'
        return (
            f'python tools/train.py configs/refinement/{run}.py fits it; then copy '
            f'work_dirs/{run}/J_spin.npy and J_spin.json into {search_folders()[-1]}'
        )
    if name in ZOO:
        return f'{ZOO[name].source} It goes to {search_folders()[-1] / ZOO[name].filename}'
    return remedy(name, Path(name).parent.parent, 'a refinement run writes one: docs/refinement.md')


@register_check('PyTorch3DSilhouette')
def _pytorch3d(part: Mapping[str, Any]) -> Iterator[Finding]:
    from mmjrr.rendering.pytorch3d.soft_silhouette import INSTALL

    yield look_up('package', 'pytorch3d', partial(import_version, 'pytorch3d.renderer'), INSTALL)
