"""From initial fits to pseudo ground truth: the energy, its minimiser, and where results go."""

from .energy import EnergyTerms, FitEnergy
from .refiner import FitRefiner, RefinedFits
from .store import PseudoGTStore

__all__ = ['EnergyTerms', 'FitEnergy', 'FitRefiner', 'PseudoGTStore', 'RefinedFits']
