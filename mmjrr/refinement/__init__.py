"""Refinement of initial fits to pseudo ground truth: the energy, its minimizer, and the store."""

from .energy import EnergyTerms, FitEnergy
from .refiner import FitRefiner, RefinedFits
from .regressor_fit import fit_regressor
from .store import PseudoGTStore

__all__ = [
    'EnergyTerms',
    'FitEnergy',
    'FitRefiner',
    'PseudoGTStore',
    'RefinedFits',
    'fit_regressor',
]
