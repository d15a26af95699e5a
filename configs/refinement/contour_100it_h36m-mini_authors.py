# The refinement of contour_100it_h36m_authors.py on the four real frames.
_base_ = ['./contour_100it_h36m-mini.py', '../_base_/authors_energy.py']

custom_hooks = _base_.custom_hooks
custom_hooks[0].energy = _base_.authors_energy
custom_hooks[0].refiner = _base_.authors_refiner
