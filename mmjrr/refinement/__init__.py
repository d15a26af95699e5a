"""Refinement of initial fits to pseudo ground truth: the energy, its minimizer, and the store."""

from .energy import EnergyTerms, FitEnergy
from .observations import Observations
from .refiner import FitRefiner, RefinedFits
from .regressor_fit import fit_regressor
from .store import PseudoGTStore
from .terms import EnergyTerm, PosedBodies
from .variables import FrameGroups, Sharing

__all__ = [
    'EnergyTerm',
    'EnergyTerms',
    'FitEnergy',
    'FitRefiner',
    'FrameGroups',
    'Observations',
    'PosedBodies',
    'PseudoGTStore',
    'RefinedFits',
    'Sharing',
    'fit_regressor',
]
