"""The paper's figures: the choice of frames, the pictures, and figures that cannot be drawn."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmjrr.cli import figures
from mmjrr.cli.options import parse
from mmjrr.errors import DataError
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


def test_other_folders_and_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='found no pseudo_gt/identity.json'):
        draw_figures(tmp_path, tmp_path / 'out')
    with pytest.raises(ValueError, match=r'figures: found \[9\]'):
        draw_figures(tmp_path, tmp_path / 'out', [9])
    assert not (tmp_path / 'out').exists()
