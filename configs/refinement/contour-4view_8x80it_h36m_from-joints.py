# The refinement of contour-4view_5x80it_h36m.py without an estimator's fits: bodies are first
# fitted to the annotated 3D joints. J_spin is fitted to them and repeats the errors of the
# regressor that they were fitted with, so joints have a tenth of their weights. Steps are three
# times as large, and there are eight rounds, because these bodies are wrong in all frames alike.
# The prior of poses is the rest pose with the joints' limits (docs/experiments.md, Start from
# joints). The silhouette's largest ratio to the joints is ten times that of the other config, for
# the same weight.
_base_ = ['./contour-4view_5x80it_h36m.py']

train_dataloader = dict(dataset=dict(fits_file=None))
custom_hooks = _base_.custom_hooks
custom_hooks[0].energy.terms.update(
    joint_3d=dict(scale=0.1, root=None),
    joint_2d=dict(scale=0.1),
    rest_pose=dict(scale=0.135),
    initial_pose=False,
    pose_prior=False,
)
custom_hooks[0].calibration.update(
    rounds=8, refiner=dict(lr=0.03), max_ratios=dict(silhouette=30.0, rest_pose=1.35)
)
# Measured with SPIN-like fits only.
custom_hooks[0].refiner.share.update(outline_offset='fixed', part_outline_offset='fixed')
