# The refinement of contour-4view_8x80it_h36m_from-joints.py on the free body and the synthetic set
# with synchronous cameras, whose masks are exact.
_base_ = ['./contour-4view_5x80it_synthetic.py']

train_dataloader = dict(dataset=dict(fits_file=None))
custom_hooks = _base_.custom_hooks
custom_hooks[0].energy.terms.update(
    joint_3d=dict(scale=0.1, root=None),
    joint_2d=dict(scale=0.1),
    rest_pose=dict(scale=0.135),
)
custom_hooks[0].calibration.update(rounds=8, refiner=dict(lr=0.03), max_ratios=dict(rest_pose=1.35))
