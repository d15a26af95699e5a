"""Mask generation through the command line, with a small network of random weights."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_jobs import SIZE, masks_config, pictures

from mmjrr.cli import masks
from mmjrr.cli.options import parse
from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.masks import Masks, save_masks
from mmjrr.errors import DataError
from mmjrr.jobs import IdentityError
from mmjrr.segmentation.mmcv_ops import INSTALL

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 14


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small pictures of bright rectangles on dark ground, annotated in H36M's layout."""
    return pictures(tmp_path_factory.mktemp('data'), FRAMES)


@pytest.fixture(scope='module')
def config(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip('torchvision', reason=f'torchvision is not installed: {INSTALL}')
    return masks_config(data, tmp_path_factory.mktemp('config'))


def run(*arguments: object) -> None:
    """The command in this process; its errors are raised."""
    config, *others = map(str, arguments)
    masks.run(parse(masks.add_arguments, None, [config, '--batch-size', '2', *others]))


def run_and_kill(shards: Path, count: int, *arguments: object) -> None:
    """The tool in a fork of this process, killed when ``count`` shards are there."""
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            run(*arguments)
        finally:
            os._exit(1)
    deadline = time.monotonic() + 60
    while len(list(shards.glob('shard_*.json'))) < count:
        assert time.monotonic() < deadline, 'no shard in a minute'
        time.sleep(0.005)
    time.sleep(np.random.default_rng(count).uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


@pytest.fixture(scope='module')
def whole(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an undisturbed run."""
    folder = tmp_path_factory.mktemp('whole')
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run(config, '--out', folder / 'masks.json', '--work-dir', folder / 'work')
    torch.set_num_threads(threads)
    return folder / 'masks.json'


def test_every_image_has_a_mask_with_score_box_and_model(data: Path, whole: Path) -> None:
    content = json.loads(whole.read_bytes())
    assert content['info']['counts'] == {'masks': FRAMES, 'without_person': 0, 'excluded': 0}
    model = content['info']['identity']['model']
    assert model['backend'] == 'torchvision' and model['version'].startswith('torchvision ')
    assert len(content['info']['identity']['checkpoint_sha256']) == 64
    for entry in content['masks'].values():
        assert entry['size'] == list(SIZE)
        assert 0.05 < entry['score'] <= 1 and 0 <= entry['overlap'] <= 1
        x0, y0, x1, y1 = entry['box']
        assert 0 <= x0 < x1 <= SIZE[1] and 0 <= y0 < y1 <= SIZE[0]
    dataset = H36MFitsDataset(
        data_root=str(data), ann_file='annotation_body3d/h36m_train.npz', camera_param_file=None,
        mask_file=str(whole), load_mask=True,
    )  # fmt: skip
    assert dataset.report['without_mask'] == 0 and len(dataset) == FRAMES
    assert dataset[0]['inputs']['mask'].max() > 0.5


def test_a_run_killed_five_times_ends_in_the_same_bytes(
    config: Path, whole: Path, tmp_path: Path
) -> None:
    arguments = (config, '--out', tmp_path / 'masks.json', '--work-dir', tmp_path / 'work')
    for count in (1, 2, 3, 5, 6):
        run_and_kill(tmp_path / 'work' / 'masks', count, *arguments)
        assert not (tmp_path / 'masks.json').exists()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run(*arguments)
    torch.set_num_threads(threads)
    assert (tmp_path / 'masks.json').read_bytes() == whole.read_bytes()
    assert [path.name for path in tmp_path.rglob('*') if path.is_file()] == ['masks.json']


def test_a_finished_run_is_left_alone_and_another_refused(
    config: Path, whole: Path, tmp_path: Path
) -> None:
    arguments = (config, '--out', whole, '--work-dir', tmp_path)
    before = whole.stat().st_mtime_ns
    run(*arguments)
    assert whole.stat().st_mtime_ns == before
    with pytest.raises(IdentityError, match='model.soft: recorded false, present true') as error:
        run(*arguments, '--soft')
    assert 'start again with --overwrite' in str(error.value)
    option = 'settings.person.min_overlap: recorded 0.0, present 0.5'
    with pytest.raises(IdentityError, match=option):
        run(*arguments, '--cfg-options', 'person.min_overlap=0.5')


def test_soft_masks_are_written_and_compared_with_true_ones(
    data: Path, config: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = {}
    for name in json.loads(whole.read_bytes())['masks']:
        truth[name] = np.zeros(SIZE, np.uint8)
        truth[name][20:70, 30:50] = 1
    save_masks(tmp_path / 'truth.json', truth)
    out = tmp_path / 'soft.json'
    run(config, '--out', out, '--work-dir', tmp_path / 'work', '--soft',
        '--compare', tmp_path / 'truth.json')  # fmt: skip
    soft, binary = Masks(out), Masks(whole)
    for name in truth:
        assert soft[name].dtype == np.float32 and len(np.unique(soft[name])) > 2
        assert binary[name][soft[name] > 0.57].all()  # the eighths next to one half are both
        assert not binary[name][soft[name] < 0.43].any()
    text = capsys.readouterr().out
    assert f'over {FRAMES} frames' in text and 'IoU with' in text


def test_people_who_are_not_the_annotated_one_are_recorded_and_counted(
    config: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'masks.json'
    with pytest.raises(DataError, match='none of 14 images has a mask: none of .* detected people'):
        run(config, '--out', out, '--work-dir', tmp_path / 'work',
            '--cfg-options', 'person.min_overlap=0.999')  # fmt: skip
    assert not out.exists()
    shards = sorted((tmp_path / 'work' / 'masks').glob('shard_*.json'))
    assert len(shards) == FRAMES // 2
    for shard in map(json.loads, map(Path.read_bytes, shards)):
        assert len(shard['without_person']) == 2 and shard['masks'] == {}


def test_a_broken_image_stops_the_run_or_is_counted(
    data: Path, config: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = sorted((data / 'images').rglob('*.png'))[5]
    original = picture.read_bytes()
    arguments = (config, '--out', tmp_path / 'masks.json', '--work-dir', tmp_path / 'work')
    try:
        picture.write_bytes(original[: len(original) // 2])
        with pytest.raises(DataError, match=f'{picture.name}.*not a readable image'):
            run(*arguments)
        assert len(list((tmp_path / 'work' / 'masks').glob('shard_*.json'))) == 2
        run(*arguments, '--skip-unreadable')
    finally:
        picture.write_bytes(original)
    content = json.loads((tmp_path / 'masks.json').read_bytes())
    (name,) = content['excluded']
    assert name.endswith(picture.name) and 'not a readable image' in content['excluded'][name]
    assert content['info']['counts'] == {'masks': FRAMES - 1, 'without_person': 0, 'excluded': 1}
    others = {n: e for n, e in json.loads(whole.read_bytes())['masks'].items() if n != name}
    assert content['masks'].keys() == others.keys()
    assert 'Wrote 13 masks to' in capsys.readouterr().out
