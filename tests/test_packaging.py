"""Packaging: the wheel, imports, configs, metafiles, and the links of the documentation."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope

import mmjrr  # noqa: F401
from mmjrr.registry import DATA_SAMPLERS, DATASETS, HOOKS, LOOPS, METRICS, MODELS, RENDERERS

ROOT = Path(__file__).resolve().parents[1]
#: Of those that detect people: tests/test_segmentation/test_configs.py.
ELSEWHERE = ('_base_', 'segmentation')
CONFIGS = sorted(p for p in (ROOT / 'configs').rglob('*.py') if p.parent.name not in ELSEWHERE)
METAFILES = sorted((ROOT / 'configs').rglob('metafile.yml'))
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
PAGES += sorted((ROOT / 'configs').rglob('*.md'))


def config_id(path: Path) -> str:
    return path.stem


# ------------------------------------------------------------------ packages


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, as builds leave files behind."""
    copy = tmp_path_factory.mktemp('source')
    ignore = shutil.ignore_patterns('__pycache__', '.mim', '*.egg-info')
    for name in ('mmjrr', 'configs', 'tools', 'requirements'):
        shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    for name in ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE'):
        shutil.copy2(ROOT / name, copy / name)
    shutil.copy2(ROOT / 'model-index.yml', copy / 'model-index.yml')
    return copy


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(source: Path, out: Path) -> set[str]:
    """Names in the wheel."""
    pip = (sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation')
    run(*pip, '-w', str(out), '.', cwd=source)
    (wheel,) = out.glob('mmjrr-*.whl')
    with zipfile.ZipFile(wheel) as file:
        return set(file.namelist())


def files_for_mim(source: Path) -> set[str]:
    paths = {'model-index.yml'}
    for folder in ('configs', 'tools'):
        paths |= {
            path.relative_to(source).as_posix()
            for path in (source / folder).rglob('*')
            if path.suffix in ('.py', '.sh', '.yml', '.md')
        }
    return paths


@pytest.mark.slow
def test_wheel_holds_modules_data_and_everything_for_mim(source: Path, tmp_path: Path) -> None:
    names = build_wheel(source, tmp_path)
    assert {f'mmjrr/.mim/{name}' for name in files_for_mim(source)} <= names
    assert {
        'mmjrr/body_models/data/free_body.npz',
        'mmjrr/regressors/data/free_body_h36m.npz',
    } <= names
    assert {path.relative_to(source).as_posix() for path in source.glob('mmjrr/**/*.py')} <= names
    assert not any('__pycache__' in name or name.startswith('tests/') for name in names)
    assert not (source / 'mmjrr' / '.mim').exists()  # copies would hide later changes


@pytest.mark.slow
def test_editable_install_links_and_a_later_wheel_leaves_the_links(
    source: Path, tmp_path: Path
) -> None:
    build = 'import sys; from setuptools import build_meta; build_meta.build_editable(sys.argv[1])'
    (tmp_path / 'editable').mkdir()
    run(sys.executable, '-c', build, str(tmp_path / 'editable'), cwd=source)
    mim = source / 'mmjrr' / '.mim'
    for name in ('configs', 'tools', 'model-index.yml'):
        assert (mim / name).is_symlink()
        assert (mim / name).resolve() == source / name
    names = build_wheel(source, tmp_path / 'wheel')
    assert (mim / 'configs').is_symlink()
    assert {f'mmjrr/.mim/{name}' for name in files_for_mim(source)} <= names


@pytest.mark.slow
def test_wheel_of_the_source_distribution_holds_the_same(source: Path, tmp_path: Path) -> None:
    build = 'import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])'
    run(sys.executable, '-c', build, str(tmp_path), cwd=source)
    (archive,) = tmp_path.glob('*.tar.gz')
    shutil.unpack_archive(archive, tmp_path / 'unpacked', filter='data')
    (unpacked,) = (tmp_path / 'unpacked').iterdir()
    names = build_wheel(unpacked, tmp_path / 'wheel')
    assert {f'mmjrr/.mim/{name}' for name in files_for_mim(source)} <= names
    assert 'mmjrr/body_models/data/free_body.npz' in names


DRAW = """
import torch
from mmjrr.geometry import PerspectiveCamera
from mmjrr.rendering import ContourSilhouette
vertices, camera = torch.ones(1, 3, 3), PerspectiveCamera([1.0, 1.0], [0.0, 0.0])
ContourSilhouette([[0, 1, 2]], (4, 4))(vertices, camera)
"""


@pytest.mark.slow
def test_uninstalling_after_drawing_leaves_nothing(source: Path, tmp_path: Path) -> None:
    """A file left behind would make ``mmjrr`` an empty namespace for the next editable install."""
    run(sys.executable, '-m', 'venv', '--without-pip', str(tmp_path / 'venv'), cwd=tmp_path)
    python = tmp_path / 'venv' / 'bin' / 'python'
    purelib = 'import sysconfig; print(sysconfig.get_path("purelib"))'
    site, ours = (
        Path(run(str(p), '-c', purelib, cwd=tmp_path).strip()) for p in (python, sys.executable)
    )
    (site / 'packages_of_the_tests.pth').write_text(f'{ours}\n')
    environment = {
        **{name: value for name, value in os.environ.items() if name != 'PYTHONPATH'},
        'XDG_CACHE_HOME': str(tmp_path / 'cache'),
        'OMP_NUM_THREADS': '1',
    }

    def in_venv(*arguments: str) -> str:
        command = [str(python), *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pip_install = ('-m', 'pip', 'install', '-q', '--no-deps', '--no-build-isolation')
    in_venv(*pip_install, str(source))
    in_venv('-c', DRAW)
    assert list((tmp_path / 'cache').rglob('*.nbc'))
    in_venv('-m', 'pip', 'uninstall', '-q', '-y', 'mmjrr')
    assert not (site / 'mmjrr').exists()
    in_venv(*pip_install, '-e', str(source))
    assert in_venv('-c', 'import mmjrr; print(mmjrr.__file__)').startswith(str(source))


def modules_after(statements: str) -> set[str]:
    code = f'import sys; {statements}; print(*sys.modules)'
    return set(run(sys.executable, '-c', code, cwd=ROOT).split())


def test_importing_is_light() -> None:
    """``import mmjrr`` adds no module of others to what MMEngine's registries import."""
    before, after = (
        modules_after(f'import mmengine.registry{addition}') for addition in ('', '; import mmjrr')
    )
    assert {name.split('.')[0] for name in after - before} == {'mmjrr'}
    assert not after & {'torch', 'numba', 'cv2', 'scipy'}


@pytest.mark.slow
def test_optional_packages_are_imported_when_used() -> None:
    packages = ('mmdet', 'mmpose', 'pytorch3d', 'numba', 'torchvision', 'h5py', 'cdflib', 'pandas')
    modules = modules_after(
        'from mmjrr import registry as ours; '
        '[r.import_from_location() for r in vars(ours).values() if isinstance(r, ours.Registry)]'
    )
    assert 'mmjrr.engine.hooks.pseudo_gt_hook' in modules
    assert not modules & {*packages, 'matplotlib.pyplot', 'mmcv'}


# ------------------------------------------------------------------ configs


@pytest.mark.parametrize('path', CONFIGS, ids=config_id)
def test_config_loads_and_its_components_build(path: Path) -> None:
    """With the free body in place of licensed files; of data sets, the arguments are checked."""
    cfg = Config.fromfile(str(path))
    init_default_scope('mmjrr')
    assert cfg.default_scope == 'mmjrr' and 'mmjrr' in cfg.custom_imports.imports
    for hook in cfg.default_hooks.values():
        if hook is not None:
            HOOKS.build(hook)
    if path.parent.name == 'training':
        check_training(cfg)
    elif 'train_dataloader' in cfg:
        check_refinement(cfg)
    else:
        check_evaluation(cfg)


def check_refinement(cfg: Config) -> None:
    check_arguments(DATASETS, cfg.train_dataloader.dataset)
    assert DATA_SAMPLERS.get(cfg.train_dataloader.sampler.type) is not None
    assert LOOPS.get(cfg.train_cfg.type) is not None
    MODELS.build(cfg.model)
    for hook in cfg.custom_hooks:
        if 'body_model' in hook:
            if hook.body_model.type == 'SMPL':
                hook.body_model = dict(type='FreeBody')
            # Masks and silhouettes are compared pixel by pixel.
            crop = cfg.train_dataloader.dataset.get('crop_size', (224, 224))
            assert tuple(hook.renderer.image_size) == tuple(crop)
            if hook.renderer.type == 'PyTorch3DSilhouette':
                check_arguments(RENDERERS, hook.renderer, faces=[])
                pytest.importorskip('pytorch3d', reason='PyTorch3D is not installed')
        HOOKS.build(hook)


def check_training(cfg: Config) -> None:
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        check_arguments(DATASETS, loader.dataset)
    check_arguments(MODELS, cfg.model)
    check_metric(cfg.val_evaluator)


def check_evaluation(cfg: Config) -> None:
    check_arguments(DATASETS, cfg.test_dataloader.dataset)
    check_arguments(MODELS, cfg.model)
    if 'test_evaluator' not in cfg:  # inference
        return
    check_metric(cfg.test_evaluator)


def check_metric(evaluator: ConfigDict) -> None:
    evaluator.regressors, evaluator.body_model = ['free_body_h36m'], dict(type='FreeBody')
    METRICS.build(evaluator)


def check_arguments(registry, cfg, **passed) -> None:
    """Check that a config's and the ``given`` arguments are arguments of the component."""
    arguments = {key: value for key, value in cfg.items() if key != 'type'} | passed
    inspect.signature(registry.get(cfg.type)).bind(**arguments)


def test_ablations_differ_from_their_base_in_their_terms_alone() -> None:
    folder = ROOT / 'configs' / 'refinement'
    ablations = {'wo-discriminator': ('adv_pose', 'adv_shape'), 'wo-silhouette': ('silhouette',)}
    for data, name in product(('synthetic', 'h36m', 'h36m-mini'), ablations):
        terms = ablations[name]
        base = Config.fromfile(str(folder / f'contour_100it_{data}.py'))
        cfg = Config.fromfile(str(folder / f'contour_100it_{data}_{name}.py'))
        check_ablation(base, cfg, terms)
    for data in ('synthetic', 'h36m'):
        name = f'contour-4view_5x80it_{data}'
        base, cfg = (
            Config.fromfile(str(folder / f'{name}{left_out}.py'))
            for left_out in ('', '_wo-silhouette')
        )
        # Without silhouettes, no term sees outlines.
        for name in ('outline_offset', 'part_outline_offset'):
            assert cfg.custom_hooks[0].refiner.share.pop(name) == 'fixed'
            del base.custom_hooks[0].refiner.share[name]
        check_ablation(base, cfg, ('silhouette',))


def test_the_authors_settings_differ_from_their_base_in_weights_and_start_alone() -> None:
    folder = ROOT / 'configs' / 'refinement'
    for data in ('synthetic', 'h36m', 'h36m-mini'):
        base, cfg = (
            Config.fromfile(str(folder / f'contour_100it_{data}{name}.py'))
            for name in ('', '_authors')
        )
        hook = cfg.custom_hooks[0]
        weights = {name: term['weight'] for name, term in hook.energy.terms.items()}
        assert weights == dict(
            joint_3d=196.0, joint_2d=14.8, silhouette=100.0, adv_pose=0.4, adv_shape=10.0
        )
        assert hook.energy.terms.silhouette.levels == (1,)
        assert hook.refiner == dict(num_iters=100, lr=1e-2, init_translation='2d')
        for name in ('energy', 'refiner'):
            hook[name] = base.custom_hooks[0][name]
        for name in ('custom_hooks', 'train_dataloader', 'model', 'optim_wrapper', 'train_cfg'):
            assert cfg[name] == base[name], name


def test_equal_terms_differ_from_their_base_in_scales_and_learning_rates_alone() -> None:
    folder = ROOT / 'configs' / 'refinement'
    for data in ('synthetic', 'h36m'):
        base, cfg = (
            Config.fromfile(str(folder / f'contour_100it_{data}{name}.py'))
            for name in ('', '_equal-terms')
        )
        hook, base_hook = cfg.custom_hooks[0], base.custom_hooks[0]
        assert all(term == dict(scale=1.0) for term in hook.energy.terms.values())
        assert hook.refiner == dict(num_iters=100, lr=1e-2, lr_mult={})
        hook.energy.terms.silhouette = base_hook.energy.terms.silhouette
        hook.refiner.lr_mult = base_hook.refiner.lr_mult
        assert cfg.to_dict() == base.to_dict()


def check_ablation(base: Config, cfg: Config, terms: tuple[str, ...]) -> None:
    for term in terms:
        assert cfg.custom_hooks[0].energy.terms[term] is False
        cfg.custom_hooks[0].energy.terms[term] = base.custom_hooks[0].energy.terms[term]
    assert cfg.to_dict() == base.to_dict()


# ------------------------------------------------------------------ metafiles


def test_model_index_lists_every_metafile() -> None:
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    assert sorted(index['Import']) == [path.relative_to(ROOT).as_posix() for path in METAFILES]


@pytest.mark.parametrize('path', METAFILES, ids=lambda path: path.parent.name)
def test_metafile_names_collections_and_configs_that_exist(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    collections = {collection['Name'] for collection in content['Collections']}
    for collection in content['Collections']:
        assert (ROOT / collection['README']).is_file()
    for model in content['Models']:
        config = ROOT / model['Config']
        assert config.is_file() and config.parent == path.parent
        assert model['Name'] == config.stem
        assert model['In Collection'] in collections


def test_every_collection_has_a_name_of_its_own() -> None:
    names = [
        collection['Name']
        for path in METAFILES
        for collection in yaml.safe_load(path.read_text())['Collections']
    ]
    assert len(set(names)) == len(names)


# ------------------------------------------------------------------ documentation


def anchors(page: Path) -> set[str]:
    """Anchors that GitHub gives to the page's headings."""
    prose = re.sub(r'^```.*?^```', '', page.read_text(encoding='utf-8'), flags=re.S | re.M)
    headings = re.findall(r'^#+ (.+)$', prose, flags=re.M)
    return {re.sub(r'[^\w\- ]', '', h.lower()).strip().replace(' ', '-') for h in headings}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r'\]\(([^)\s]+)\)', page.read_text(encoding='utf-8'))
    wrong = []
    for link in links:
        if '://' in link:
            continue
        name, _, anchor = link.partition('#')
        target = (page.parent / name) if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert not wrong


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_of_the_project_that_pages_name_exist(page: Path) -> None:
    text = page.read_text(encoding='utf-8')
    named = set(
        re.findall(r'(?<![\w/])(?:configs|tools|mmjrr|docs|requirements)/[\w./-]+\.\w+', text)
    )
    assert not sorted(name for name in named if not (ROOT / name).exists())


def test_names_of_files_occur_once_but_for_commands() -> None:
    """Files of ``mmjrr/cli`` are named after their commands."""
    files = [path for path in (ROOT / 'mmjrr').rglob('*.py') if '.mim' not in path.parts]
    counts = Counter(
        path.name for path in files if path.parent.name != 'cli' and path.name != '__init__.py'
    )
    assert [name for name, count in counts.items() if count > 1] == []


def test_architecture_names_every_package() -> None:
    text = (ROOT / 'docs' / 'architecture.md').read_text(encoding='utf-8')
    named = set(re.findall(r'`mmjrr/(\w+)/`', text))
    packages = {path.parent.name for path in ROOT.glob('mmjrr/*/__init__.py')}
    assert named == packages
