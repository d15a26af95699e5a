"""Errors about data are ordinary value errors, so that callers need not know of them."""

from __future__ import annotations

import pytest

from mmjrr.errors import DataError


def test_a_data_error_is_caught_as_a_value_error() -> None:
    with pytest.raises(ValueError, match=r'^a\.npz: pose: found shape \(3,\)$'):
        raise DataError('a.npz: pose: found shape (3,)')
