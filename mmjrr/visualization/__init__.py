"""Pictures: fits over images, and bar charts of errors by joint."""

from .overlay import draw_fit

__all__ = ['draw_fit']
