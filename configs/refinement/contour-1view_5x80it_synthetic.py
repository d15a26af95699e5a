# The refinement of contour-1view_5x80it_h36m.py on the free body and the synthetic set. The
# calibration has all frames, so its fits are the result.
_base_ = ['./contour-4view_5x80it_synthetic.py']

train_dataloader = dict(batch_sampler=dict(type='FrameBatchSampler'))
custom_hooks = _base_.custom_hooks
custom_hooks[0].energy.terms.joint_3d = dict(scale=1.0)
custom_hooks[0].refiner.share = dict(pose='frame', betas='subject')
custom_hooks[0].root = 'mean'
