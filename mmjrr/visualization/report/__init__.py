"""Report pages: everything about an evaluation or a refinement in one HTML file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmjrr.lazy_names import lazy_names

if TYPE_CHECKING:
    from mmjrr.visualization.report.content import Report
    from mmjrr.visualization.report.from_evaluation import (
        GalleryOptions,
        PredictionSet,
        add_predictions,
        report_predictions,
        report_results_file,
    )
    from mmjrr.visualization.report.from_work_dir import report_work_dir
    from mmjrr.visualization.report.page import check_report_path, write_report

__all__ = [
    'GalleryOptions',
    'PredictionSet',
    'Report',
    'add_predictions',
    'check_report_path',
    'report_predictions',
    'report_results_file',
    'report_work_dir',
    'write_report',
]

__getattr__, __dir__ = lazy_names(__name__)
