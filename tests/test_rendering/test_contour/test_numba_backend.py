"""The compiled loops: agreement with the PyTorch backend, threads, and the cache on disk."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import mmjrr
from mmjrr.rendering import ContourSilhouette

from .scenes import MESHES, drawn, image_plane, posed, small_camera

pytestmark = pytest.mark.slow

FAN = np.array([[0, 1, i] for i in range(2, 7)])  # five faces that run along an edge
STRIP = np.array([[0, 1, 2], [1, 3, 2], [2, 3, 4], [3, 5, 4], [4, 5, 1], [5, 0, 1]])  # Moebius'
CORNERS = np.random.default_rng(0).normal(size=(7, 3))
SCENES = {name: mesh[:2] for name, mesh in MESHES.items()}
SCENES |= {'fan': (CORNERS, FAN), 'moebius_strip': (CORNERS, STRIP)}


@pytest.mark.parametrize('on_grid', [False, True])
@pytest.mark.parametrize('supersampling', [1, 2, 3])
@pytest.mark.parametrize('name', SCENES)
def test_compiled_loops_give_what_pytorchs_operations_give(name, supersampling, on_grid):
    vertices, faces = SCENES[name]
    bodies = torch.cat([posed(vertices, seed) for seed in range(4)])
    camera = small_camera()
    if on_grid:  # corners on borders of pixels, edges along them
        pixels = camera.project(bodies).round()
        bodies, camera = torch.cat([pixels, torch.ones_like(pixels[..., :1])], -1), image_plane()
    compiled, plain = (
        drawn(ContourSilhouette(faces, (10, 12), 0.01, supersampling, way), bodies, camera)
        for way in (True, False)
    )
    torch.testing.assert_close(compiled[0], plain[0], rtol=0, atol=1e-12)
    # On the grid both layers may cover a part equally: rounding says whose gradient counts.
    if not on_grid or ContourSilhouette(faces).closed:
        torch.testing.assert_close(compiled[1], plain[1], rtol=0, atol=1e-11)
    assert float(plain[0].sum()) > 1 and float(plain[1].abs().max()) > 0.1


@pytest.mark.parametrize('threads', [2, 3, 7])
@pytest.mark.parametrize('name', ['torus', 'open_hemisphere', 'three_pages'])
def test_threads_of_compiled_loops_change_no_bit(name, threads, monkeypatch):
    vertices, faces, _ = MESHES[name]
    renderer, camera = ContourSilhouette(faces, (10, 12)), small_camera()
    bodies = torch.cat([posed(vertices, seed) for seed in range(5)])
    before = torch.get_num_threads()
    results, pools = [], []

    class Counted(ThreadPoolExecutor):
        def __init__(self, workers: int) -> None:
            pools.append(workers)
            super().__init__(workers)

    monkeypatch.setattr('mmjrr.compiled_loops.ThreadPoolExecutor', Counted)
    try:
        for number in (1, threads):
            torch.set_num_threads(number)
            results.append(drawn(renderer, bodies, camera))
    finally:
        torch.set_num_threads(before)
    assert pools == [min(threads, 5) - 1] * 2  # forward and backward
    assert all(torch.equal(one, many) for one, many in zip(*results, strict=True))


def test_a_renderer_that_has_drawn_can_be_copied_and_pickled():
    vertices, faces, _ = MESHES['torus']
    renderer, bodies = ContourSilhouette(faces, (10, 12)), posed(vertices, 0)
    expected = renderer(bodies, small_camera())
    for other in (copy.deepcopy(renderer), pickle.loads(pickle.dumps(renderer))):
        assert torch.equal(other(bodies, small_camera()), expected)


# --- the cache on disk ----------------------------------------------------------------------------

#: Draws in the dtypes named by the arguments, against the PyTorch backend; prints how many compiled
#: functions were loaded from the cache and how many were compiled.
DRAW = """
import os
import resource
import sys
import numba
import numpy as np
import torch
from mmjrr.geometry import PerspectiveCamera
from mmjrr.rendering import ContourSilhouette

if 'FULL_DISK' in os.environ:  # larger files cannot be written, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
before = numba.config.CACHE_DIR
faces = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
corners = [[0.1, 0.2, 1], [7.3, 1.1, 1], [3.2, 6.9, 1], [2.5, 2.5, 1.5]]
for dtype in sys.argv[1:]:
    dtype = getattr(torch, dtype)
    camera = PerspectiveCamera([1.0, 1.0], [0.0, 0.0]).to(dtype)
    results = []
    for compiled in (True, False):
        vertices = torch.tensor([corners], dtype=dtype, requires_grad=True)
        alpha = ContourSilhouette(faces, (8, 8), compiled=compiled)(vertices, camera)
        alpha.square().sum().backward()
        results.append((alpha.detach(), vertices.grad))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
assert numba.config.CACHE_DIR == before
from mmjrr.rendering.contour.numba_backend import _draw_images, _sweep_images
stats = _draw_images.stats, _sweep_images.stats
print(*(sum(sum(s[i].values()) for s in stats) for i in (1, 2)))
"""


def start_drawing(cache: Path, *dtypes: str, **environment: str) -> subprocess.Popen:
    env = {name: value for name, value in os.environ.items() if name != 'NUMBA_CACHE_DIR'}
    return subprocess.Popen(
        [sys.executable, '-c', DRAW, *dtypes],
        env={**env, 'XDG_CACHE_HOME': str(cache), 'OMP_NUM_THREADS': '1', **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> tuple[list[int], str]:
    """Return the counts of loaded and compiled functions, and what went to stderr."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return [int(count) for count in output.split()], errors


@pytest.fixture(scope='module')
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's cache folder, filled by two processes at once, each for one dtype."""
    folder = tmp_path_factory.mktemp('cache')
    processes = [start_drawing(folder, dtype) for dtype in ('float32', 'float64')]
    for process in processes:
        (loaded, compiled), errors = finish(process)
        assert (loaded, compiled) == (0, 2) and not errors
    return folder


def test_two_processes_that_compile_at_once_leave_a_whole_cache(cache: Path) -> None:
    counts, errors = finish(start_drawing(cache, 'float64', 'float32'))
    assert counts == [4, 0] and not errors


def test_the_cache_lies_in_the_users_folder_alone(cache: Path) -> None:
    """Files in the package would survive its uninstallation."""
    assert list((cache / 'mmjrr' / 'numba').rglob('numba_backend*.nbc'))
    assert not list(Path(mmjrr.__file__).parent.rglob('numba_backend*.nb[ic]'))


@pytest.mark.parametrize('trouble', ['full disk', 'broken files', 'no folder'])
def test_without_a_usable_cache_a_warning_is_given_and_the_image_drawn(
    trouble: str, cache: Path, tmp_path: Path
) -> None:
    folder, environment = tmp_path / 'cache', {}
    if trouble == 'full disk':
        environment['FULL_DISK'] = 'yes'
    elif trouble == 'broken files':
        shutil.copytree(cache, folder)
        for path in folder.rglob('*.nbc'):
            path.write_bytes(path.read_bytes()[:1000])
    else:
        folder.write_text('a file where the folder should be')
    (loaded, _), errors = finish(start_drawing(folder, 'float32', **environment))
    assert loaded == 0
    assert errors.count('RuntimeWarning') == 1
    assert 'cannot be stored or loaded' in errors and 'Set NUMBA_CACHE_DIR' in errors
