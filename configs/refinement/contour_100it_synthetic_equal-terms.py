# The refinement of contour_100it_h36m_equal-terms.py on the free body and the synthetic set.
_base_ = ['./contour_100it_synthetic.py']

custom_hooks = _base_.custom_hooks
custom_hooks[0].energy.terms.silhouette = dict(scale=1.0)
custom_hooks[0].refiner.lr_mult = {}
