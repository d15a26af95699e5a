"""The paper's figures: the choice of frames, the pictures, and figures that cannot be drawn."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmjrr.cli import figures
from mmjrr.cli.options import parse
from mmjrr.datasets.annotations import Annotations
from mmjrr.errors import DataError
from mmjrr.visualization import paper_figures
from mmjrr.visualization.panels import Panel, save_panels
from mmjrr.visualization.paper_figures import FIGURES, FigureSource, draw_figures


def picture(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1].astype(int)


def test_panels_show_pictures_points_and_names(tmp_path: Path) -> None:
    image = np.full((50, 50, 3), (200, 30, 30), dtype=np.uint8)
    points = (np.array([[25.0, 25.0], [np.nan, 3]]), 'labels', 'o', '#00ff00')
    save_panels(tmp_path / 'a.png', [[Panel(image, 'one'), Panel(image, 'two', [points])]])
    drawn = picture(tmp_path / 'a.png')
    red = np.abs(drawn - (200, 30, 30)).max(-1) < 12
    green = np.abs(drawn - (0, 255, 0)).max(-1) < 60
    half = drawn.shape[1] // 2
    assert red[:, :half].sum() > red[:, half:].sum() > 10000
    assert green[:, half:].sum() > 10 and not green[: drawn.shape[0] // 3, :half].any()
    first = (tmp_path / 'a.png').read_bytes()
    save_panels(tmp_path / 'a.png', [[Panel(image, 'one'), Panel(image, 'two', [points])]])
    assert (tmp_path / 'a.png').read_bytes() == first


@pytest.fixture(scope='module')
def work_dirs(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny refinement, and one without the discriminators."""
    folders = {}
    for name in ('full', 'without'):
        cfg = Config.fromfile(str(tiny_config))
        folders[name] = tmp_path_factory.mktemp(name)
        cfg.work_dir = str(folders[name])
        cfg.experiment_name = cfg.visualizer.name = f'figures_{name}'
        if name == 'without':
            cfg.custom_hooks[0].energy = dict(terms=dict(adv_pose=False, adv_shape=False))
        Runner.from_cfg(cfg).train()
    return folders


@pytest.mark.slow
def test_all_figures_for_which_there_are_runs_are_drawn_with_their_frames(
    work_dirs: dict[str, Path], tmp_path: Path
) -> None:
    made = draw_figures(work_dirs['full'], tmp_path, without_discriminator=work_dirs['without'])
    assert sorted(made) == [1, 2, 3, 4, 5, 7, 8]  # no run without silhouettes
    for path in made.values():
        assert picture(path).std() > 10
    notes = json.loads((tmp_path / 'figures.json').read_text())['figures']
    assert set(notes) == {path.name for path in made.values()}
    source = FigureSource(work_dirs['full'])
    gain = source.errors['J_std'] - source.errors['J_opt']
    (name,) = notes['figure_1.jpg']['frames']
    # 24 frames: the median's neighbors.
    assert gain[source.imgname.index(name)] in np.sort(gain)[[11, 12]]
    assert len(notes['figure_7.jpg']['frames']) == 4
    assert notes['figure_4.jpg']['other_run'] == work_dirs['without'].name
    # A second run keeps the entries of the pictures that it leaves as they are.
    draw_figures(work_dirs['without'], tmp_path, [2])
    again = json.loads((tmp_path / 'figures.json').read_text())['figures']
    assert again.pop('figure_2.jpg')['run'] == work_dirs['without'].name
    assert again == {name: note for name, note in notes.items() if name != 'figure_2.jpg'}


@pytest.mark.slow
def test_frames_can_be_named_and_must_be_unambiguous(
    work_dirs: dict[str, Path], tmp_path: Path
) -> None:
    source = FigureSource(work_dirs['full'])
    image_name = source.imgname[5]
    draw_figures(work_dirs['full'], tmp_path, [1], images=[image_name])
    notes = json.loads((tmp_path / 'figures.json').read_text())['figures']
    assert notes['figure_1.jpg']['frames'] == [image_name]
    for name in ('S1', 'nothing'):
        with pytest.raises(DataError, match='refined frames have this in their name'):
            draw_figures(work_dirs['full'], tmp_path, [1], images=[name])


@pytest.mark.slow
def test_the_command_lists_drawn_and_missing_figures(
    work_dirs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(work_dirs['full']), '--out', str(tmp_path), '--figures', '2', '6']
    figures.run(parse(figures.add_arguments, None, arguments))
    output = capsys.readouterr().out
    assert FIGURES[2] in output and str(tmp_path / 'figure_2.jpg') in output
    assert 'Figure 6: not drawn, because --without-silhouette names no run' in output


@pytest.mark.slow
def test_no_figure_shows_photographs_that_are_left_out(
    work_dirs: dict[str, Path], tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper_figures, 'PANEL_SIZE', 140)
    data = Path(shutil.copytree(tiny_set, tmp_path / 'set'))
    magenta = np.full((1000, 1000, 3), (255, 0, 255), dtype=np.uint8)
    for name in Annotations.load(data / 'annotation_body3d/fps10/h36m_train.npz').imgname:
        path = data / 'images' / str(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), magenta)
    for photos, figures_drawn in ((True, [4, 6]), (False, list(FIGURES))):
        made = draw_figures(
            work_dirs['full'], tmp_path / 'out', figures_drawn, work_dirs['without'],
            work_dirs['without'], data_root=data, photos=photos,
        )  # fmt: skip
        assert list(made) == figures_drawn
        for path in made.values():
            of_photo = (np.abs(picture(path) - magenta[0, 0]) < 60).all(-1)
            assert of_photo.mean() > 0.3 if photos else not of_photo.any()


@pytest.mark.slow
def test_a_comparison_goes_through_all_names_a_few_times_only(
    work_dirs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        paper_figures, 'over_photo', lambda frame, *_: paper_figures.photo_of(frame)
    )
    sources = [FigureSource(work_dirs[name], photos=False) for name in ('full', 'without')]

    class Names(list):
        scans = 0

        def __iter__(self) -> Any:
            Names.scans += 1
            return super().__iter__()

        def __contains__(self, name: object) -> bool:
            Names.scans += 1
            return super().__contains__(name)

        def index(self, *args: Any) -> int:
            Names.scans += 1
            return super().index(*args)

    for source in sources:
        source.imgname = Names(source.imgname)
    rows, _ = paper_figures._ROWS[4](sources[0], [], sources[1])
    assert len(rows) == 2 and Names.scans < len(sources[0].imgname) // 4


@pytest.mark.slow
def test_runs_without_common_frames_are_named_and_earlier_pictures_recorded(
    work_dirs: dict[str, Path], tmp_path: Path
) -> None:
    other = Path(shutil.copytree(work_dirs['without'], tmp_path / 'other'))
    first, *others = sorted((other / 'pseudo_gt').rglob('batch_*.npz'))
    for path in others:
        path.unlink()
    lone = Path(shutil.copytree(work_dirs['full'], tmp_path / 'lone'))
    content = dict(np.load(first))
    names = set(content['imgname'].tolist())
    for path in sorted((lone / 'pseudo_gt').rglob('batch_*.npz')):
        batch = dict(np.load(path))
        kept = [row for row, name in enumerate(batch['imgname'].tolist()) if name not in names]
        count = len(batch['imgname'])
        path.unlink()
        if kept:
            np.savez(
                path, **{n: v[kept] if v.ndim and len(v) == count else v for n, v in batch.items()}
            )
    with pytest.raises(DataError, match='found no frame that both refined') as error:
        draw_figures(lone, tmp_path / 'out', [2, 4], without_discriminator=other)
    assert str(lone) in str(error.value) and str(other) in str(error.value)
    assert (tmp_path / 'out' / 'figure_2.jpg').is_file()
    notes = json.loads((tmp_path / 'out' / 'figures.json').read_text())['figures']
    assert list(notes) == ['figure_2.jpg']


@pytest.mark.slow
def test_a_subject_without_labels_of_the_ankles_is_left_out(work_dirs: dict[str, Path]) -> None:
    source = FigureSource(work_dirs['full'], photos=False)
    subjects = np.array([name.split('/')[0] for name in source.imgname])
    assert set(subjects) == {'S1', 'S5', 'S6'}
    source.labels[subjects == 'S5'] = np.nan
    ((shown, _),), _ = paper_figures._ROWS[8](source, [], None)
    assert 'S1' in shown and 'S6' in shown and 'S5' not in shown
    source.labels[subjects == 'S6'] = np.nan
    assert paper_figures._ROWS[8](source, [], None) == ([], '')


def test_other_folders_and_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='found no pseudo_gt/identity.json'):
        draw_figures(tmp_path, tmp_path / 'out')
    with pytest.raises(ValueError, match=r'figures: found \[9\]'):
        draw_figures(tmp_path, tmp_path / 'out', [9])
    assert not (tmp_path / 'out').exists()
