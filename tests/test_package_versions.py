"""PyTorch before 2.3 is not built for NumPy 2; the message says what to install."""

from __future__ import annotations

from importlib import metadata

import pytest

from mmjrr import package_versions
from mmjrr.package_versions import check_package_versions, version_conflict


@pytest.mark.parametrize(
    ('torch', 'numpy', 'works'),
    [
        # PyTorch's release notes: 2.3.0 is the first release built for NumPy 2.
        ('2.1.2', '1.26.4', True),
        ('2.1.2', '2.0.0', False),
        ('2.2.2+cu121', '2.5.5', False),
        ('2.3.0', '2.0.0', True),
        ('2.10.0', '2.5.5', True),
        ('3.0.0a1', '3.0', True),
    ],
)
def test_numpy_2_needs_pytorch_2_3(torch: str, numpy: str, works: bool) -> None:
    conflict = version_conflict(torch, numpy)
    assert (conflict is None) == works
    if conflict is not None:
        assert torch in conflict and numpy in conflict and 'numpy<2' in conflict


def test_the_installed_versions_work_together() -> None:
    check_package_versions()


def test_a_conflict_is_an_import_error_and_an_absent_package_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = {'torch': '2.1.2', 'numpy': '2.5.5'}
    monkeypatch.setattr(package_versions.metadata, 'version', installed.__getitem__)
    with pytest.raises(ImportError, match=r"pip install 'numpy<2'"):
        check_package_versions()

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(package_versions.metadata, 'version', absent)
    check_package_versions()
