# The refinement of contour_100it_h36m.py with all terms at the same scale and one learning rate for
# all variables, as the paper states them.
_base_ = ['./contour_100it_h36m.py']

custom_hooks = _base_.custom_hooks
custom_hooks[0].energy.terms.silhouette = dict(scale=1.0)
custom_hooks[0].refiner.lr_mult = {}
