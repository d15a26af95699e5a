# The refinement of contour_100it_h36m.py with the term weights and the schedule of the paper's
# authors' public code.
#
# Left out of their code: a focal length of 5000 pixels on the crop (the dataset's own cameras are
# used), a regressor that changes during refinement (J_spin stays), soft masks, batches of 256, and
# a shape discriminator of 10-10-5-1 units.
_base_ = ['./contour_100it_h36m.py', '../_base_/authors_energy.py']

custom_hooks = _base_.custom_hooks
custom_hooks[0].energy = _base_.authors_energy
custom_hooks[0].refiner = _base_.authors_refiner
