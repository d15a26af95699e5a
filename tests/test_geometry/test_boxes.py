"""Square boxes around people."""

from __future__ import annotations

import pytest

from mmjrr.geometry import padded_box, square_box, whole_image_box


def test_a_square_has_its_center_and_side() -> None:
    assert square_box((10, 20.5), 8) == (6, 16.5, 14, 24.5)


@pytest.mark.parametrize(
    ('height', 'width', 'expected'),
    [(90, 121, (-0.5, -15.5, 120.5, 105.5)), (121, 90, (-15.5, -0.5, 105.5, 120.5))],
)
def test_the_whole_image_fits_a_square_of_its_longer_side(
    height: int, width: int, expected: tuple[float, ...]
) -> None:
    assert whole_image_box(height, width) == expected


def test_padding_multiplies_the_side_and_keeps_the_center() -> None:
    assert padded_box((10, 20, 60, 70), 1.2) == pytest.approx((5, 15, 65, 75))


def test_padding_by_one_changes_no_bit() -> None:
    box = (0.1, 0.2, 0.1 + 1 / 3, 0.2 + 1 / 3)
    assert padded_box(box, 1) == box
