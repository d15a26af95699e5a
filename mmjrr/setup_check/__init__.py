"""Checks of everything that a config needs: packages, bodies, regressors, weights, data."""

# These modules register their checks on import.
from mmjrr.setup_check import body_checks, dataset_checks, model_checks
from mmjrr.setup_check.config_check import PARTS, check_setup, overview
from mmjrr.setup_check.finding import Finding
from mmjrr.setup_check.remedies import replaced_folder

__all__ = [
    'PARTS', 'Finding', 'body_checks', 'check_setup', 'dataset_checks', 'model_checks', 'overview',
    'replaced_folder',
]  # fmt: skip
