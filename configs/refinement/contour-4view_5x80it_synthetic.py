# The refinement of contour-4view_5x80it_h36m.py on the free body and the synthetic set with
# synchronous cameras. Its masks are exact and its people wear no clothes, so pixels are compared,
# and neither priors nor outline offsets are needed. The calibration has all moments, so its fits
# are the result.
_base_ = ['./contour-4view_5x80it_h36m.py']

data_root = 'data/synthetic_h36m_4view/'
train_dataloader = dict(
    batch_size=16,  # of 320 frames
    num_workers=0,
    dataset=dict(data_root=data_root, fits_file='fits/spin_like_train.npz'),
)
custom_hooks = _base_.custom_hooks
custom_hooks[0].body_model = dict(type='FreeBody')
custom_hooks[0].energy.terms.silhouette = dict(scale=10.0)
custom_hooks[0].energy.terms.update(initial_pose=False, pose_prior=False)
custom_hooks[0].calibration.max_ratios = None
custom_hooks[0].refiner.share.update(outline_offset='fixed', part_outline_offset='fixed')
custom_hooks[0].refiner.chunk_size = 40  # 8 chunks, which 2, 4 or 8 cores share evenly
custom_hooks[0].calibration.moments = None
custom_hooks[1].interval = 5
