"""Agreement of a dataset's files with its annotations, by subject and camera.

:mod:`~mmjrr.engine.fit_agreement` and :mod:`~mmjrr.engine.mask_agreement` say how agreement is
measured, and try which common mistake explains a disagreement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mmjrr.engine.frame_groups import FrameGroup

AgreementT = TypeVar('AgreementT')


@dataclass(frozen=True)
class AgreementReport(Generic[AgreementT]):
    """Agreement of each subject and camera, and the likely reason of a disagreement.

    Attributes:
        groups: Agreement of each subject and camera.
        reason: The mistake that explains the disagreement of the doubtful groups, or ''.
        explained: The measure of these groups with the mistake undone.
    """

    groups: tuple[AgreementT, ...]
    reason: str = ''
    explained: float = 0.0

    def extent(self, affected: Sequence[AgreementT]) -> str:
        """Tell how many subjects and cameras are affected."""
        return f'{len(affected)} of {len(self.groups)} subjects and cameras are affected'


def report_agreement(
    groups: Sequence[FrameGroup],
    measure: Callable[[FrameGroup], AgreementT],
    is_doubtful: Callable[[AgreementT], bool],
    explain: Callable[[list[int]], tuple[str, float]],
) -> AgreementReport[AgreementT]:
    """Measure the agreement of each group, and explain the disagreement of the doubtful ones.

    Args:
        groups: Sampled frames of each subject and camera.
        measure: Function that measures the agreement of a group.
        is_doubtful: Predicate of a group that is to be explained.
        explain: Function from the frames of all doubtful groups to the mistake that explains their
            disagreement, or '', and their measure with the mistake undone.
    """
    measured = [measure(group) for group in groups]
    doubtful = [
        index
        for group, agreement in zip(groups, measured, strict=True)
        if is_doubtful(agreement)
        for index in group.indices
    ]
    reason, explained = explain(sorted(doubtful)) if doubtful else ('', 0.0)
    return AgreementReport(tuple(measured), reason, explained)
