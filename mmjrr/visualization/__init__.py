"""Pictures: fits over images, regressors on the body."""

from .overlay import draw_fit

__all__ = ['draw_fit']
