"""Sentences on regressors that were carried between meshes, for tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def carried_remarks(name: str, provenance: Mapping[str, Any]) -> list[str]:
    """Describe how a regressor was carried between meshes, and the error that this adds.

    Args:
        name: Name of the regressor.
        provenance: Its provenance.
    """
    remarks = []
    for step in provenance.get('carried', ()):
        mapping = step.get('mapping', {})
        by = mapping.get('file') or mapping.get('made_by', 'a mapping')
        remarks.append(
            f'{name}: carried from the mesh {step.get("from")!r} to {step.get("to")!r} by {by}; '
            f'the error that this adds to a joint {_error(step.get("error_mm"))}.'
        )
    return remarks


def _error(error: Any) -> str:
    if not isinstance(error, Mapping):
        return 'is not measured'
    if 'mean' in error:
        return f'is {error["mean"]:.2f} mm in the mean (measured on {error["bodies"]} bodies)'
    rows = [f'{row["mean"]:.2f} mm ({name})' for name, row in error.items()]
    return f'is, in the mean, {", ".join(rows)}'
