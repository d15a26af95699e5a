# Refinement of each image by itself, but for the shape, which a subject has in common: five rounds
# of 80 Adam steps on the frames of 400 moments, then all frames once. No discriminators.
# For data with one camera; with several, contour-4view_5x80it_h36m.py is far better.
_base_ = ['./contour-4view_5x80it_h36m.py']

train_dataloader = dict(batch_sampler=dict(type='FrameBatchSampler'))
custom_hooks = _base_.custom_hooks
custom_hooks[0].energy.terms.joint_3d = dict(scale=1.0)
# Their errors are estimated from several views. With one, initial_pose needs deviation and weight
# (docs/refinement.md).
custom_hooks[0].energy.terms.update(initial_pose=False, pose_prior=False)
custom_hooks[0].calibration.max_ratios = None
custom_hooks[0].refiner.share = dict(pose='frame', betas='subject')
custom_hooks[0].root = 'mean'
