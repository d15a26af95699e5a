"""Overlays: silhouettes, masks, joints and titles, and their places."""

from __future__ import annotations

import numpy as np

from mmjrr.visualization import draw_fit
from mmjrr.visualization.overlay import BODY_COLOR, FIT_COLOR, LABEL_COLOR, MASK_COLOR

IMAGE = np.random.default_rng(0).integers(0, 80, (40, 60, 3), dtype=np.uint8)
NOTHING = np.zeros((40, 60))


def changed(picture: np.ndarray) -> np.ndarray:  # (H, W) bool
    return (picture != IMAGE).any(-1)


def close(picture: np.ndarray, color: tuple[int, int, int], tolerance: int) -> np.ndarray:
    return (np.abs(picture.astype(int) - color) <= tolerance).all(-1)


def test_nothing_to_draw_leaves_the_image_as_it_is() -> None:
    before = IMAGE.copy()
    assert np.array_equal(draw_fit(IMAGE, NOTHING), before)
    assert np.array_equal(draw_fit(IMAGE, NOTHING, mask=NOTHING), before)


def test_the_silhouette_is_half_transparent_and_weighed_by_coverage() -> None:
    silhouette = NOTHING.copy()
    silhouette[10:20, 5:50] = 1.0
    silhouette[20, 5:50] = 0.5
    before = IMAGE.copy()
    picture = draw_fit(IMAGE, silhouette)
    full = (IMAGE[10:20, 5:50].astype(float) + BODY_COLOR) / 2
    half = 0.75 * IMAGE[20, 5:50] + 0.25 * np.array(BODY_COLOR)
    assert np.abs(picture[10:20, 5:50] - full).max() <= 0.5
    assert np.abs(picture[20, 5:50] - half).max() <= 0.5
    assert not changed(picture)[:10].any() and not changed(picture)[21:].any()
    assert np.array_equal(IMAGE, before)


def test_a_coverage_that_is_only_rounding_is_not_seen() -> None:
    assert np.array_equal(draw_fit(IMAGE, NOTHING + 1e-6), IMAGE)


def test_the_mask_is_an_outline() -> None:
    mask = NOTHING.copy()
    mask[10:30, 20:40] = 1
    picture = draw_fit(IMAGE, NOTHING, mask)
    border = mask > 0
    border[11:29, 21:39] = False
    assert np.array_equal(close(picture, MASK_COLOR, 100), border)
    beside = np.zeros_like(border)  # lines are smoothed by a pixel
    beside[9:31, 19:41] = True
    beside[12:28, 22:38] = False
    assert not (changed(picture) & ~beside).any()


def test_joints_are_drawn_at_their_coordinates() -> None:
    """Pixel (row 7, column 11) has its center at (11.5, 7.5)."""
    picture = draw_fit(IMAGE, NOTHING, joints=np.array([[11.5, 7.5]]))
    rows, columns = np.nonzero(close(picture, FIT_COLOR, 60))
    assert close(picture, FIT_COLOR, 5)[7, 11]
    assert (rows.mean(), columns.mean()) == (7, 11)
    tips = np.zeros((40, 60), dtype=bool)
    tips[[4, 4, 10, 10], [8, 14, 8, 14]] = True
    assert close(picture, FIT_COLOR, 60)[tips].all()

    picture = draw_fit(IMAGE, NOTHING, labels=np.array([[30.5, 20.5]]))
    rows, columns = np.nonzero(close(picture, LABEL_COLOR, 110))
    radii = np.hypot(rows - 20, columns - 30)
    assert len(radii) >= 12 and radii.min() >= 3 and radii.max() <= 5
    assert abs(rows.mean() - 20) < 0.1 and abs(columns.mean() - 30) < 0.1


def test_joints_without_coordinates_are_not_drawn() -> None:
    nowhere = np.array([[np.nan, 3.0], [np.inf, 4.0], [1e9, 5.0], [-500.0, 5.0]])
    assert not changed(draw_fit(IMAGE, NOTHING, joints=nowhere, labels=nowhere)).any()


def test_the_title_is_a_line_at_the_top() -> None:
    drawn = changed(draw_fit(IMAGE, NOTHING, title='S1'))
    assert drawn[:22].any() and not drawn[22:].any()
