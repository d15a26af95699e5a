"""The inferencer, with random weights in the released format and the free body."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine import registry as root
from mmengine.registry import DefaultScope

import mmjrr
from mmjrr.body_models import free_body
from mmjrr.cli import infer
from mmjrr.datasets import ImageFolderDataset
from mmjrr.datasets.fits import load_fits
from mmjrr.datasets.predictions import read_predictions
from mmjrr.datasets.transforms import CropPerson, LoadImage, NormalizeImage, PackMeshInputs
from mmjrr.errors import DataError
from mmjrr.geometry import matrix_to_axis_angle, weak_perspective_to_transl
from mmjrr.inference import MeshInferencer
from mmjrr.models import SPIN, VIBE
from mmjrr.models.estimators.released_weights import load_weights
from mmjrr.segmentation import ensure_mmcv_ops

from .random_pictures import pictures


@pytest.fixture(scope='module')
def inferencer(spin_weights: Path) -> MeshInferencer:
    return MeshInferencer(
        'spin', spin_weights, device='cpu', det_model='whole_image', body_model='free_body'
    )


def test_results_are_those_of_the_model_on_the_dataset_of_a_folder(
    inferencer: MeshInferencer, spin_weights: Path, folder: Path
) -> None:
    results = list(inferencer(str(folder), batch_size=2))
    assert [len(result['predictions']) for result in results] == [1, 1, 1]
    model = SPIN().eval()
    load_weights(model, spin_weights)
    pipeline = [LoadImage(), CropPerson(), NormalizeImage(), PackMeshInputs()]
    dataset = ImageFolderDataset(folder, pipeline=pipeline)
    assert [dataset.imgname(row) for row in range(3)] == ['p2.png', 'p10.png', 'more/p1.png']
    for row, result in enumerate(results):
        with torch.no_grad():
            expected = model(dict(img=dataset[row]['inputs']['img'][None]))
        pose = matrix_to_axis_angle(expected['rotations'][0]).flatten().numpy()
        ((person,),) = result['predictions']
        np.testing.assert_allclose(person['global_orient'] + person['body_pose'], pose, atol=1e-4)
        np.testing.assert_allclose(person['betas'], expected['betas'][0], atol=1e-5)
        np.testing.assert_allclose(person['camera'], expected['camera'][0], atol=1e-5)
        assert person['bbox'] == [0.0, 0.0, 60.0, 72.0] and person['bbox_score'] == 1.0
    assert json.dumps(results[0]['predictions'])  # plain numbers and lists, as MMPose's


def test_an_array_is_bgr_and_gives_the_result_of_its_file(
    inferencer: MeshInferencer, folder: Path
) -> None:
    path = folder / 'p2.png'
    (of_path,) = inferencer(path)
    (of_array,) = inferencer(cv2.imread(str(path)))
    first, second = of_path['predictions'][0][0], of_array['predictions'][0][0]
    np.testing.assert_allclose(first['body_pose'], second['body_pose'], atol=1e-5)
    of_list = list(inferencer([str(path), cv2.imread(str(path))], batch_size=2))
    np.testing.assert_allclose(of_list[1]['predictions'][0][0]['betas'], first['betas'], atol=1e-5)


def test_several_persons_have_crops_of_their_own(inferencer: MeshInferencer, folder: Path) -> None:
    first, second = [10, 10, 30, 50], [25, 5, 55, 65]
    image = str(folder / 'p2.png')
    (both,) = inferencer(image, bboxes=[[first, second]])
    persons = both['predictions'][0]
    assert persons[0]['crop'] == [-4.0, 6.0, 44.0, 54.0]  # 1.2 x 40 pixels around (20, 30)
    assert persons[0]['bbox'] == [10.0, 10.0, 30.0, 50.0]
    for box, person in zip((first, second), persons, strict=True):
        (alone,) = inferencer(image, bboxes={'p2.png': box})
        np.testing.assert_allclose(alone['predictions'][0][0]['betas'], person['betas'], atol=1e-5)
    assert abs(persons[0]['betas'][0] - persons[1]['betas'][0]) > 0
    (nobody,) = inferencer(image, bboxes=[[]])
    assert nobody['predictions'] == [[]]


def test_data_samples_have_the_posed_body(inferencer: MeshInferencer, folder: Path) -> None:
    (result,) = inferencer(
        str(folder / 'p2.png'), return_datasamples=True, bboxes=[[[10, 10, 30, 50], [5, 5, 50, 60]]]
    )
    (sample,) = result['predictions']
    persons = sample.pred_instances
    body = free_body()
    expected = body(
        global_orient=persons.global_orient, body_pose=persons.body_pose, betas=persons.betas
    ).vertices
    assert persons.vertices.shape == (2, 6890, 3)
    torch.testing.assert_close(persons.vertices, torch.as_tensor(expected))
    assert sample.img_path.endswith('walk/p2.png') and sample.ori_shape == (72, 60)


def test_predictions_are_a_file_that_evaluation_reads(
    inferencer: MeshInferencer, folder: Path, tmp_path: Path
) -> None:
    boxes = {
        'p2.png': [[10, 10, 30, 50], [5, 5, 50, 60]],
        'p10.png': [],
        'more/p1.png': [1, 2, 40, 50],
    }
    results = list(inferencer(str(folder), bboxes=boxes, batch_size=3, out_dir=tmp_path))
    path = tmp_path / 'predictions' / 'walk.npz'
    fits = load_fits(path)
    assert fits['imgname'].tolist() == ['p2.png', 'p2.png', 'more/p1.png']
    persons = [person for result in results for person in result['predictions'][0]]
    np.testing.assert_allclose(fits['pose'][:, 3:], [p['body_pose'] for p in persons], atol=1e-6)
    np.testing.assert_allclose(fits['center'][2], [20.5, 26])
    assert fits['scale'][2] == pytest.approx(48 * 1.2 / 200)
    assert len(fits['provenance']['checkpoint_sha256']) == 64
    read = read_predictions(path)
    np.testing.assert_allclose(read.bbox, [[10, 10, 20, 40], [5, 5, 45, 55], [1, 2, 39, 48]])


@pytest.mark.slow
def test_estimates_of_human36m_are_evaluated_by_image_name(
    inferencer: MeshInferencer, tiny_set: Path, tmp_path: Path
) -> None:
    annotations = tiny_set / 'annotation_body3d/fps10/h36m_test.npz'
    with np.load(annotations) as file:
        names = file['imgname'].tolist()
    for name in names:
        (tmp_path / 'images' / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / 'images' / name), pictures(1)[0])
    list(inferencer(tmp_path / 'images', batch_size=8, pred_out_dir=tmp_path))
    regressor = tiny_set / 'regressors/J_std.npy'
    of_folder = mmjrr.evaluate(
        str(tmp_path / 'images.npz'), str(annotations), [str(regressor)], body_model='free_body'
    )
    assert of_folder.frames == len(names) == 8
    assert all(np.isfinite(list(of_folder.metrics().values())))


def test_pictures_show_the_body_where_spins_camera_projects_it(
    inferencer: MeshInferencer, folder: Path, tmp_path: Path
) -> None:
    (result,) = inferencer(
        str(folder / 'p2.png'),
        bboxes=[[5, 5, 50, 60]],
        return_vis=True,
        return_datasamples=True,
        black_background=True,
        opacity=1.0,
        vis_out_dir=tmp_path,
    )
    (picture,) = result['visualization']
    assert picture.shape == (72, 60, 3) and picture.dtype == np.uint8
    persons = result['predictions'][0].pred_instances
    vertices = persons.vertices[0].double() + weak_perspective_to_transl(persons.camera).double()
    x0, y0, x1, _ = persons.crops[0].tolist()
    # SPIN's camera on a crop of 224 pixels, whose pixels are those of the square.
    crop_pixels = 5000 * vertices[:, :2] / vertices[:, 2:] + 112
    pixels = (crop_pixels * (x1 - x0) / 224 + torch.tensor([x0, y0])).numpy()
    rows, columns = np.nonzero(picture.max(2) > 0)
    for axis, drawn in enumerate((columns, rows)):
        end = picture.shape[1 - axis]
        low, high = pixels[:, axis].min().clip(0, end), pixels[:, axis].max().clip(0, end)
        assert abs(drawn.min() - low) <= 1.5 and abs(drawn.max() + 1 - high) <= 1.5
    saved = cv2.imread(str(tmp_path / 'p2.png'))[..., ::-1]
    np.testing.assert_array_equal(saved, picture)


def test_a_video_gives_a_video_and_one_file(
    inferencer: MeshInferencer, video: Path, tmp_path: Path
) -> None:
    results = list(inferencer(video, batch_size=2, out_dir=tmp_path))
    assert len(results) == 5 and results[0]['visualization'] == []
    assert sorted(path.name for path in (tmp_path / 'visualizations').iterdir()) == ['run.mp4']
    written = cv2.VideoCapture(str(tmp_path / 'visualizations' / 'run.mp4'))
    assert written.get(cv2.CAP_PROP_FRAME_COUNT) == 5 and written.get(cv2.CAP_PROP_FPS) == 10
    fits = load_fits(tmp_path / 'predictions' / 'run.npz')
    assert fits['imgname'].tolist() == [f'run/run_{number:06d}.jpg' for number in range(1, 6)]


def test_a_generator_that_is_left_early_leaves_no_file(
    inferencer: MeshInferencer, video: Path, tmp_path: Path
) -> None:
    results = inferencer(video, out_dir=tmp_path)
    next(results)
    results.close()
    assert not any(path.is_file() for path in tmp_path.rglob('*'))


@pytest.mark.slow
def test_pictures_of_a_video_do_not_replace_it(inferencer: MeshInferencer, video: Path) -> None:
    with pytest.raises(ValueError, match=r'a picture would replace the input .*run\.mp4'):
        inferencer(video, vis_out_dir=video.parent)


def test_boxes_of_more_images_than_the_video_has_frames_are_refused(
    inferencer: MeshInferencer, video: Path
) -> None:
    results = inferencer(video, bboxes=[[[1, 2, 30, 40]]] * 6)
    with pytest.raises(ValueError, match='boxes of 6 images, expected 5, as many as the video has'):
        list(results)


def test_vibe_sees_each_image_as_a_sequence_of_length_one(
    spin_weights: Path, folder: Path, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    torch.save(dict(gen_state_dict=VIBE().state_dict()), tmp_path / 'vibe.pth.tar')
    cfg = dict(
        model=dict(type='VIBE', pretrained_features=str(spin_weights)),
        test_dataloader=dict(
            dataset=dict(
                pipeline=[
                    dict(type='LoadImage'),
                    dict(type='CropPerson', stretch_contrast=False),
                    dict(type='NormalizeImage'),
                    dict(type='PackMeshInputs'),
                ]
            )
        ),
    )
    inferencer = MeshInferencer(cfg, tmp_path / 'vibe.pth.tar', 'cpu', det_model='whole_image')
    together = list(inferencer(folder, batch_size=3))
    (alone,) = inferencer(folder / 'p10.png')
    np.testing.assert_allclose(
        together[1]['predictions'][0][0]['body_pose'],
        alone['predictions'][0][0]['body_pose'],
        atol=1e-4,
    )


@pytest.fixture
def importable_mmpose(mmpose_folder: Path) -> None:
    ensure_mmcv_ops()  # MMPose's models import mmcv.ops, which mmcv-lite does not have


@pytest.mark.parametrize('name', ['mmjrr.MeshInferencer', 'mmjrr.mesh-estimation'])
def test_it_is_found_in_the_registries_of_mmengine_and_mmpose(
    name: str, request: pytest.FixtureRequest
) -> None:
    assert root.INFERENCERS.get(name) is MeshInferencer
    assert mmjrr.MeshInferencer is MeshInferencer
    request.getfixturevalue('importable_mmpose')
    from mmpose.registry import INFERENCERS

    with DefaultScope.overwrite_default_scope('mmpose'):
        assert INFERENCERS.get(name) is MeshInferencer


@pytest.mark.usefixtures('importable_mmpose')
def test_arguments_have_the_names_of_mmposes_inferencers() -> None:
    from inspect import signature

    from mmpose.apis import MMPoseInferencer, Pose2DInferencer

    theirs = signature(Pose2DInferencer.__init__).parameters
    assert set(theirs) <= set(signature(MeshInferencer.__init__).parameters)
    call = signature(MMPoseInferencer.__call__).parameters
    assert list(call) == list(signature(MeshInferencer.__call__).parameters)
    assert Pose2DInferencer.preprocess_kwargs <= MeshInferencer.preprocess_kwargs
    drawing = {'return_vis', 'show', 'wait_time', 'draw_bbox', 'vis_out_dir', 'black_background'}
    assert drawing <= Pose2DInferencer.visualize_kwargs & MeshInferencer.visualize_kwargs
    assert 'pred_out_dir' in Pose2DInferencer.postprocess_kwargs


@pytest.mark.parametrize(
    ('inputs', 'options', 'message'),
    [
        ('nowhere.mp4', {}, 'nowhere.mp4: no such image, video or folder'),
        (3, {}, 'inputs: found int'),
        ([], {}, 'inputs: found an empty list'),
        (np.zeros((4, 4)), {}, r'expected \(h, w, 3\) uint8, BGR'),
        ('p2.png', dict(bboxes=[[1, 2, 3, 4], [1, 2, 3, 4]]), 'boxes of 2 images, expected 1'),
        ('p2.png', dict(bboxes={'p3.png': [1, 2, 3, 4]}), "found none for 'p2.png'"),
        ('p2.png', dict(bboxes=[[5, 2, 3, 4]]), 'expected x1 > x0 and y1 > y0'),
        ('p2.png', dict(bboxes=[[1, 2, float('nan'), 4]]), 'expected x1 > x0'),
        ('p2.png', dict(bboxes=[['a', 2, 3, 4]]), 'expected numbers'),
        ('p2.png', dict(bboxes=[[1, 2, 3, 4]], bbox_thr=0), 'bbox_thr: found 0, expected none'),
        ('p2.png', dict(batch_size=0), 'batch_size: found 0'),
        ('.', dict(vis_out_dir='.'), 'would replace the input p2.png'),
        ('p2.png', dict(vis_out_dir='../walk/more/..'), 'would replace the input p2.png'),
        ('notes.txt', {}, r'notes.txt: expected an image \(.bmp'),
        ('p2.png', dict(bboxes=[[1, 2, 3, 4]], bbox_padding=0), 'padding: found 0, expected a pos'),
        (
            'p2.png',
            dict(bboxes=[[1, 2, 3, 4]], bbox_padding=np.inf),
            'padding: found inf, expected',
        ),
        ('p2.png', dict(bbox_padding=1.5), 'bbox_padding: found 1.5, expected none for whole'),
        (['p2.png', 'more/../p2.png'], {}, "found two images of the name 'p2.png'"),
        ('p2.png', dict(show=True), r"show: found no display \(matplotlib takes 'agg'\)"),
        ('p2.png', dict(pred_out_dir='out.json'), 'expected a folder'),
        ('p2.png', dict(radius=3), 'radius'),
    ],
)
def test_wrong_arguments_are_refused_by_the_call_itself(
    inferencer: MeshInferencer, folder: Path, inputs, options, message: str, monkeypatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr('matplotlib.pyplot.get_backend', lambda: 'agg')
    (folder / 'notes.txt').touch()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        inferencer(inputs, **options)  # not only when results are drawn from the generator


def test_images_that_would_share_a_name_or_a_picture_are_refused(
    inferencer: MeshInferencer, tmp_path: Path
) -> None:
    (image,) = pictures(1)
    for name in ('000000.jpg', 'a.bmp', 'a.bmp.jpg'):
        cv2.imwrite(str(tmp_path / name), image)
    with pytest.raises(ValueError, match="found two images of the name '000000.jpg'"):
        inferencer([image, tmp_path / '000000.jpg'])
    with pytest.raises(ValueError, match='the pictures of two images would be .*/o/a.bmp.jpg'):
        inferencer(tmp_path, vis_out_dir=tmp_path / 'o')
    assert len(list(inferencer(tmp_path))) == 3  # their names differ


@pytest.mark.parametrize('device', ['gpu', 'cuda:77'])
def test_a_device_that_is_not_there_is_refused(spin_weights: Path, device: str) -> None:
    with pytest.raises(ValueError, match=f"device: found '{device}', expected 'cpu' or another"):
        MeshInferencer('spin', spin_weights, device, det_model='whole_image')


def test_pictures_of_an_earlier_call_are_no_input(
    inferencer: MeshInferencer, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / 'x.png'), pictures(1)[0])
    for run in ('run1', 'run2', 'run2'):
        assert len(list(inferencer(tmp_path, out_dir=tmp_path / run))) == 1
        assert (tmp_path / run / 'visualizations/x.png').is_file()


def test_missing_weights_and_names_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spin_weights: Path
) -> None:
    monkeypatch.setenv('MMJRR_HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"model_checkpoint.pt.*'mmjrr download spin'"):
        MeshInferencer('spin')
    with pytest.raises(FileNotFoundError, match=r'model_best.pth.tar.*; get .* from'):
        MeshInferencer('meva')
    with pytest.raises(FileNotFoundError, match='none.pt: no such file'):
        MeshInferencer('spin', 'none.pt')
    with pytest.raises(ValueError, match='names? such as spin, vibe, meva'):
        MeshInferencer('spine')
    with pytest.raises(ValueError, match='download it first'):
        MeshInferencer('spin', 'https://example.org/model_checkpoint.pt')
    (tmp_path / 'spin').mkdir()
    (tmp_path / 'spin/model_checkpoint.pt').symlink_to(spin_weights)
    inferencer = MeshInferencer('spin', device='cpu')
    assert inferencer.weights == tmp_path / 'spin/model_checkpoint.pt'
    image = pictures(1)[0]
    with pytest.raises(FileNotFoundError, match='pictures need the body'):
        inferencer(image, bboxes=[[1, 2, 30, 40]], return_vis=True)
    (result,) = inferencer(image, bboxes=[[1, 2, 30, 40]], return_datasamples=True)
    assert 'vertices' not in result['predictions'][0].pred_instances
    pytest.importorskip('mmcv', reason='a detector needs mmcv')
    with pytest.raises(FileNotFoundError, match="'mmjrr download mask_rcnn_mmdet'"):
        inferencer(image)


def test_damaged_images_stop_a_run_or_are_left_out(
    inferencer: MeshInferencer, tmp_path: Path
) -> None:
    for name, picture in zip(('a.png', 'b.png'), pictures(2), strict=True):
        cv2.imwrite(str(tmp_path / name), picture)
    (tmp_path / 'a.png').write_bytes((tmp_path / 'a.png').read_bytes()[:100])
    with pytest.raises(DataError, match='a.png: not a readable image'):
        list(inferencer(tmp_path))
    boxes = [[1, 2, 30, 40], [5, 6, 30, 40]]
    (result,) = inferencer(tmp_path, skip_unreadable=True, bboxes=boxes)
    assert result['predictions'][0][0]['bbox'] == boxes[1]


@pytest.mark.slow
def test_the_command_writes_what_the_inferencer_writes(
    inferencer: MeshInferencer,
    spin_weights: Path,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    boxes = {'p2.png': [10, 10, 30, 50], 'p10.png': [], 'more/p1.png': [[1, 2, 40, 50]]}
    (tmp_path / 'boxes.json').write_text(json.dumps(boxes))
    command = [str(folder), '--model', 'spin', '--weights', str(spin_weights), '--device', 'cpu']
    command += ['--body-model', 'free_body', '--boxes', str(tmp_path / 'boxes.json')]
    assert infer.main([*command, '--out-dir', str(tmp_path / 'out'), '--draw-bbox']) == 0
    assert 'Found 2 persons in 3 images' in capsys.readouterr().out
    list(inferencer(folder, bboxes=boxes, pred_out_dir=tmp_path))
    of_command = load_fits(tmp_path / 'out/predictions/walk.npz')
    of_python = load_fits(tmp_path / 'walk.npz')
    assert of_command['imgname'].tolist() == ['p2.png', 'more/p1.png']
    assert of_python['imgname'].tolist() == ['p2.png', 'more/p1.png']
    np.testing.assert_allclose(of_command['pose'], of_python['pose'], atol=1e-4)
    drawn = tmp_path / 'out/visualizations'
    names = sorted(path.relative_to(drawn).as_posix() for path in drawn.rglob('*.png'))
    assert names == ['more/p1.png', 'p10.png', 'p2.png']


@pytest.mark.parametrize(
    ('options', 'message', 'status'),
    [
        (['--model', 'spin'], 'nothing would be written', 2),
        (['--model', 'spin', '--out', 'a.npz', '--out-dir', 'b'], '--out does not go with', 2),
        (['--out-dir', 'b'], '--out-dir does not go with', 2),
        (['--bbox-thr', '0'], '--bbox-thr does not go with', 2),
        (
            ['--model', 'spin', '--out-dir', 'b', '--boxes', 'c', '--nms-thr', '0'],
            '--nms-thr does not go with --boxes',
            2,
        ),
        (['--model', 'spin', '--pred-out-dir', 'b', '--draw-bbox'], '--draw-bbox needs', 2),
        ([], 'found no config; for images and videos, give --model', 2),
        (['--model', 'spine', '--out-dir', 'b'], "found 'spine'", 1),
        (['--model', 'spin', '--weights', 'none.pt', '--out-dir', 'b'], 'none.pt: no such', 1),
    ],
)
def test_the_command_refuses_in_one_line(
    folder: Path, options: list[str], message: str, status: int, capsys
) -> None:
    assert infer.main([str(folder), *options]) == status
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1


@pytest.mark.parametrize('name', ['spin_h36m', 'vibe_image-folder'])
def test_an_input_with_the_name_of_a_config_is_the_input(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert infer.main([name, '--model', 'spine', '--out-dir', 'b']) == 1
    assert f'{name}: no such image, video or folder' in capsys.readouterr().err
    (tmp_path / name).mkdir()
    cv2.imwrite(f'{name}/a.png', pictures(1)[0])
    assert infer.main([name, '--model', 'spine', '--out-dir', 'b']) == 1
    assert "model: found 'spine'" in capsys.readouterr().err
    assert infer.main([name]) == 2
    assert f'{name}: found no config; for images' in capsys.readouterr().err


def test_several_configs_of_one_name_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert infer.main(['spin_h36m']) == 2
    assert 'several configs have this name' in capsys.readouterr().err


def test_importing_the_package_imports_no_inferencer() -> None:
    import subprocess

    code = "import sys, mmjrr; print([m for m in ('torch', 'cv2', 'mmengine') if m in sys.modules])"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'
