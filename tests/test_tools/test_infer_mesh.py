"""An estimator over images to a file, which refinement and evaluation read."""

from __future__ import annotations

import os
import random
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.structures import BaseDataElement
from PIL import Image
from scipy.spatial.transform import Rotation
from small_jobs import NAMES, inference_files

from mmjrr.cli import infer as infer_command
from mmjrr.cli.options import parse
from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.fits import load_fits
from mmjrr.datasets.transforms import crop_person, read_image
from mmjrr.errors import DataError
from mmjrr.geometry import square_box
from mmjrr.io import sha256
from mmjrr.jobs import IdentityError, job
from mmjrr.models import SPIN, StoredPredictions, mesh_inference

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'infer_mesh.py'

FIELDS = ('imgname', 'center', 'scale', 'pose', 'betas', 'shape', 'camera', 'provenance')


def to_tensor(crop: np.ndarray) -> torch.Tensor:
    values = (crop / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return torch.tensor(values.transpose(2, 0, 1), dtype=torch.float32)


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in MMPose's layout, the estimator, its weights and a config."""
    folder = tmp_path_factory.mktemp('infer')
    sys.path.insert(0, str(folder))
    inference_files(folder)
    return folder


@pytest.fixture
def infer(root: Path, tmp_path: Path):
    """Run the command in this process, and return its file's content."""

    def run(*arguments: str, config: str = 'tiny.py', weights: str = 'tiny.pth') -> Path:
        out = tmp_path / 'out.npz'
        command = [str(root / config), str(root / weights), '--out', str(out)]
        command += ['--work-dir', str(tmp_path / 'work'), *arguments]
        infer_command.run(parse(infer_command.add_arguments, None, command))
        return out

    return run


def test_the_file_has_spins_fields_and_says_what_made_it(infer, root: Path) -> None:
    out = infer()
    with np.load(out) as file:
        assert sorted(file.files) == sorted(FIELDS)
    fits = load_fits(out)
    with np.load(root / 'data/annotation_body3d/fps10/h36m_test.npz') as annotation:
        assert fits['imgname'].tolist() == annotation['imgname'].tolist()
        np.testing.assert_allclose(fits['center'], annotation['center'], atol=1e-3)
        np.testing.assert_allclose(fits['scale'], annotation['scale'], rtol=1e-6)
    assert len(fits['imgname']) == 8 and fits['pose'].shape == (8, 72)
    provenance = fits['provenance']
    assert provenance['checkpoint_sha256'] == sha256(root / 'tiny.pth')
    assert provenance['config'].endswith('tiny.py') and 'torch' in provenance['versions']
    assert provenance['excluded'] == []
    assert not (out.parent / 'work/inference').exists()


def test_estimates_are_the_models_on_spins_crops(infer, root: Path) -> None:
    fits = load_fits(infer())
    state = torch.load(root / 'tiny.pth')['state_dict']
    for row in (0, 5):
        with Image.open(root / 'data/images' / fits['imgname'][row]) as file:
            image = np.array(file)
        center, scale = fits['center'][row].astype(float), float(fits['scale'][row])
        x0, y0 = (int(c - 100 * scale) for c in center)
        side = int(center[0] + 100 * scale) - x0
        crop = image[y0 : y0 + side, x0 : x0 + side].astype(float)
        crop = (crop - crop.min()) / (crop.max() - crop.min())
        color = (crop.mean((0, 1)) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        output = state['layer.weight'].double() @ torch.tensor(color) + state['layer.bias']
        # The mean color survives resizing nearly.
        np.testing.assert_allclose(fits['betas'][row], output[72:82], atol=0.02)
        np.testing.assert_allclose(fits['camera'][row], output[82:].abs() + 0.5, atol=0.02)
        turned = Rotation.from_rotvec(fits['pose'][row].reshape(24, 3)).as_matrix()
        expected = Rotation.from_rotvec(output[:72].view(24, 3).numpy()).as_matrix()
        np.testing.assert_allclose(turned, expected, atol=0.03)


def test_it_is_the_input_of_evaluation(infer) -> None:
    out = infer()
    fits, model = load_fits(out), StoredPredictions(str(out))
    for row, name in enumerate(fits['imgname'].tolist()):
        (sample,) = model(None, [BaseDataElement(metainfo=dict(imgname=name))])
        np.testing.assert_array_equal(sample.pred_body_pose, fits['pose'][row, 3:])
        np.testing.assert_array_equal(sample.pred_betas, fits['betas'][row])


def test_it_is_the_initial_fits_of_refinement(infer, root: Path) -> None:
    out = infer()
    fits = load_fits(out)
    dataset = H36MFitsDataset(
        data_root=str(root / 'data'),
        ann_file='annotation_body3d/fps10/h36m_test.npz',
        fits_file=str(out.resolve()),
    )
    assert len(dataset) == 8 and dataset.report['without_fit'] == 0
    sample = dataset[3]['data_samples']
    np.testing.assert_array_equal(sample.body_pose, fits['pose'][3, 3:])
    # SPIN's camera: the person is s times the box's half side per meter; seen from so far away.
    s, side = float(fits['camera'][3, 0]), 200 * float(fits['scale'][3])
    assert float(sample.transl[2]) == pytest.approx(2 * 114 / (s * side), rel=0.2)


def test_spins_released_layout_runs_through_its_config(infer, root: Path) -> None:
    estimator = SPIN()
    for name, value in estimator.named_buffers():
        if name.endswith('init_pose'):
            value.copy_(torch.tensor([1.0, 0, 0, 1, 0, 0]).repeat(24))
    # One network with one set of names, under 'model', with an unused body beside it.
    weights = {name.split('.', 1)[1]: value for name, value in estimator.state_dict().items()}
    weights['smpl.betas'] = torch.zeros(1, 10)
    torch.save(dict(model=weights), root / 'model_checkpoint.pt')
    config = str(ROOT / 'configs/inference/spin_synthetic.py')
    options = (
        '--cfg-options', 'model.mean_params=None', 'test_dataloader.dataset.cameras=[60457274]',
        f'test_dataloader.dataset.data_root={root / "data"}',
    )  # fmt: skip
    out = infer(*options, config=config, weights='model_checkpoint.pt')
    fits = load_fits(out)
    assert fits['imgname'].tolist() == NAMES[4:]
    images = []
    for name, center, scale in zip(NAMES[4:], fits['center'], fits['scale'], strict=True):
        image = read_image(root / 'data/images' / name)
        crop = crop_person(image, square_box(center.astype(float), 200 * float(scale)))
        images.append(to_tensor(crop))
    with torch.no_grad():
        estimates = estimator.eval()(dict(img=torch.stack(images)))
    np.testing.assert_allclose(fits['betas'], estimates['betas'], atol=2e-3)
    np.testing.assert_allclose(fits['camera'], estimates['camera'], atol=2e-3)
    del weights['fc1.bias']
    torch.save(dict(model=weights), root / 'model_checkpoint.pt')
    with pytest.raises(DataError, match=r'model_checkpoint.pt: .*missing: .*fc1.bias'):
        infer('--overwrite', *options, config=config, weights='model_checkpoint.pt')


# ------------------------------------------------------------------ interruptions


def test_batches_and_workers_do_not_change_what_a_frame_gets(infer) -> None:
    one = load_fits(infer())
    other = load_fits(
        infer('--batch-size', '2', '--overwrite', '--cfg-options', 'test_dataloader.num_workers=2')
    )
    assert one['imgname'].tolist() == other['imgname'].tolist()
    for name in ('pose', 'betas', 'camera'):
        np.testing.assert_allclose(one[name], other[name], atol=1e-5)


def test_a_finished_run_is_left_alone_and_other_results_are_refused(
    infer, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = infer()
    content = out.read_bytes()
    monkeypatch.setattr(mesh_inference, '_predict', lambda *_: pytest.fail('estimated again'))
    infer()
    assert out.read_bytes() == content
    state = torch.load(root / 'tiny.pth')
    state['state_dict']['layer.bias'][0] += 1
    torch.save(state, root / 'other.pth')
    with pytest.raises(IdentityError, match=r'out.npz: .*\n  weights: recorded ') as error:
        infer(weights='other.pth')
    assert str(error.value).count('\n  ') == 1 and 'choose another --out' in str(error.value)
    option = r'settings.dataset.cameras: recorded nothing, present \[60457274\]'
    with pytest.raises(IdentityError, match=option):
        infer('--cfg-options', 'test_dataloader.dataset.cameras=[60457274]')
    assert out.read_bytes() == content


def test_results_of_an_unfinished_run_are_refused_by_other_weights(
    infer, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimate, calls = mesh_inference.estimate_batch, []

    def stop_at_third(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return estimate(*arguments)

    monkeypatch.setattr(mesh_inference, 'estimate_batch', stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        infer()
    assert len(list((tmp_path / 'work/inference').glob('batch_*.npz'))) == 2
    state = torch.load(root / 'tiny.pth')
    state['state_dict']['layer.bias'][0] -= 1
    torch.save(state, root / 'other.pth')
    with pytest.raises(IdentityError, match=r'inference: .*\n  weights: recorded '):
        infer(weights='other.pth')
    infer()
    assert len(calls) == 4  # the third batch of three


def test_a_run_killed_at_any_moment_ends_in_the_same_bytes(
    infer, root: Path, tmp_path: Path, run_processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when two processes finish what one began."""
    monkeypatch.setenv('PYTHONPATH', f'{root}{os.pathsep}{ROOT}')
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    moments = random.Random(0)
    options = ['--batch-size', '1', '--cfg-options', 'model.seconds=0.1']
    whole = infer(*options).read_bytes()
    killed, shards = tmp_path / 'killed.npz', tmp_path / 'killed/inference'
    places = ['--out', str(killed), '--work-dir', str(shards.parent)]

    def in_a_process() -> None:
        torch.set_num_threads(1)
        infer(*places, *options)

    def done() -> int:
        return len(list(shards.glob('batch_*.npz')))

    for _ in range(3):
        before = done()
        process = get_context('fork').Process(target=in_a_process)
        process.start()
        while done() == before and process.is_alive():
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.1))
        assert process.is_alive()
        process.kill()
        process.join()
        assert before < done() < 8
    (shards / '.batch_0000007.tmp-a1b2c3d4.npz').write_bytes(b'half')
    command = [sys.executable, str(TOOL), str(root / 'tiny.py'), str(root / 'tiny.pth')]
    outputs = run_processes([*command, *places, *options, '--launcher', 'pytorch'], 2)
    assert 'of 8 batches exist already' in outputs[0]
    assert killed.read_bytes() == whole
    assert not [path for path in tmp_path.rglob('.*')]


def test_a_run_killed_after_writing_only_tidies_up(
    infer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job.Job, 'remove_shards', die)
        with pytest.raises(KeyboardInterrupt):
            infer()
    content = (tmp_path / 'out.npz').read_bytes()
    assert list((tmp_path / 'work/inference').glob('batch_*.npz'))
    assert infer().read_bytes() == content
    assert not (tmp_path / 'work/inference').exists()


# ------------------------------------------------------------------ images that cannot be read


def test_unreadable_images_stop_by_name_or_are_counted_and_tried_again(
    infer, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(MMLogger.get_instance('mmjrr'), 'info', said.append)
    whole = load_fits(infer())
    name = whole['imgname'][4]
    image = root / 'data/images' / name
    content = image.read_bytes()
    try:
        image.write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError, match=f'{image.name}: not a readable image'):
            infer('--overwrite')
        assert len(list((tmp_path / 'work/inference').glob('batch_*.npz'))) == 1
        out = infer('--skip-unreadable')
    finally:
        image.write_bytes(content)
    assert said[-1] == f'Wrote 7 frames to {out}; 1 images were unreadable: {name}'
    fits = load_fits(out)
    assert fits['provenance']['excluded'] == [name]
    left = [row for row in range(8) if row != 4]
    np.testing.assert_array_equal(fits['imgname'], whole['imgname'][left])
    np.testing.assert_allclose(fits['pose'], whole['pose'][left], atol=1e-5)


def test_an_image_that_was_repaired_is_estimated_after_all(
    infer, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = infer().read_bytes()
    image = root / 'data/images' / str(load_fits(infer())['imgname'][4])
    content = image.read_bytes()
    monkeypatch.setattr(mesh_inference, '_write', lambda *_: (_ for _ in ()).throw(OSError))
    try:
        image.write_bytes(b'')
        with pytest.raises(OSError):
            infer('--overwrite', '--skip-unreadable')
    finally:
        image.write_bytes(content)
    monkeypatch.undo()
    assert infer('--skip-unreadable').read_bytes() == whole


def test_a_set_without_readable_images_is_an_error(infer) -> None:
    options = ('--cfg-options', 'test_dataloader.dataset.data_prefix.img=nowhere')
    with pytest.raises(DataError, match='none of 8 images is readable: .*no such image'):
        infer('--skip-unreadable', *options)


# ------------------------------------------------------------------ sequences and folders


def test_sequences_are_seen_as_a_whole(infer) -> None:
    single = load_fits(infer())
    fits = load_fits(infer('--overwrite', '--cfg-options', 'seq_len=2'))
    assert fits['imgname'].tolist() == single['imgname'].tolist()
    assert fits['provenance']['seq_len'] == 2
    # What the estimator says of a sequence is linear in the mean color of its frames.
    for rows in ([0, 1], [2, 3], [4, 5], [6, 7]):
        expected = np.repeat(single['betas'][rows].mean(0, keepdims=True), 2, 0)
        np.testing.assert_allclose(fits['betas'][rows], expected, atol=1e-5)
    assert np.abs(fits['betas'] - single['betas']).max() > 0.01


def test_sequences_of_other_lengths_and_with_gaps_share_a_batch(
    infer, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = load_fits(infer())
    image = root / 'data/images' / NAMES[5]
    content = image.read_bytes()
    try:
        image.write_bytes(b'')
        options = ('--cfg-options', 'seq_len=3', 'test_dataloader.batch_size=99')
        fits = load_fits(infer('--overwrite', '--skip-unreadable', *options))
    finally:
        image.write_bytes(content)
    assert fits['imgname'].tolist() == NAMES[:5] + NAMES[6:]
    for row_numbers, seen in (([0, 1, 2], [0, 1, 2]), ([3], [3]), ([4, 5], [4, 6]), ([6], [7])):
        expected = np.repeat(single['betas'][seen].mean(0, keepdims=True), len(row_numbers), 0)
        np.testing.assert_allclose(fits['betas'][row_numbers], expected, atol=1e-5)


def test_a_folder_of_images_takes_whole_images(infer, root: Path, tmp_path: Path) -> None:
    (tmp_path / 'people').mkdir()
    for value, name in enumerate(['p2.png', 'p10.png']):
        Image.fromarray(np.full((50, 30, 3), 99 * value, np.uint8)).save(tmp_path / 'people' / name)
    config = root / 'folder.py'
    config.write_text(
        f"""
_base_ = [{str(ROOT / 'configs/_base_/default_runtime.py')!r},
          {str(ROOT / 'configs/_base_/image_folder.py')!r}]
custom_imports = dict(imports=['mmjrr', 'tiny_estimator'])
model = dict(type='TinyEstimator')
test_dataloader = dict(num_workers=0, dataset=dict(data_root={str(tmp_path / 'people')!r}))
"""
    )
    fits = load_fits(infer(config='folder.py'))
    assert fits['imgname'].tolist() == ['p2.png', 'p10.png']
    np.testing.assert_array_equal(fits['center'], [[15, 25]] * 2)
    np.testing.assert_array_equal(fits['scale'], [0.25] * 2)


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (('--batch-size', '0'), 'batch_size: found 0'),
        (('--cfg-options', 'seq_len=0'), 'seq_len: found 0'),
        (('--out', 'results.pkl'), '--out: results.pkl: expected a path ending in .npz'),
    ],
)
def test_wrong_arguments_are_named(infer, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        infer(*arguments)


def test_weights_that_are_not_finite_name_the_frame(infer, root: Path, tmp_path: Path) -> None:
    state = torch.load(root / 'tiny.pth')
    state['state_dict']['layer.bias'][75] = float('nan')
    torch.save(state, root / 'nan.pth')
    with pytest.raises(DataError, match=r'S9_.*_000\d+\.jpg: betas: found .*nan'):
        infer(weights='nan.pth')


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'configs/inference').glob('*.py')), ids=lambda p: p.stem
)
def test_configs_crop_as_spin_does(path: Path) -> None:
    cfg = Config.fromfile(path)
    steps = [step['type'] for step in cfg.test_dataloader.dataset.pipeline]
    assert steps == ['LoadImage', 'CropPerson', 'NormalizeImage', 'PackMeshInputs']
