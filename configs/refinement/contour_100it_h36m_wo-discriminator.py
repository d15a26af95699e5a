# Ablation of the paper (Section 4.3) on Human3.6M: refinement without the discriminators,
# all else equal.
_base_ = ['./contour_100it_h36m.py']

custom_hooks = _base_.custom_hooks
custom_hooks[0].energy.terms.adv_pose = False
custom_hooks[0].energy.terms.adv_shape = False
