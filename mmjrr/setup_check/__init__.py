"""Checks of everything that a config needs: packages, bodies, regressors, weights, data."""

# These modules register their checks on import.
from mmjrr.setup_check import body_checks, dataset_checks, model_checks
from mmjrr.setup_check.config_check import check_setup, overview
from mmjrr.setup_check.finding import Finding

__all__ = ['Finding', 'body_checks', 'check_setup', 'dataset_checks', 'model_checks', 'overview']
