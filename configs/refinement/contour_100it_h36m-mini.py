# Refinement of four real frames (MMPose's Human3.6M test data) on the free body, from MoSh's poses.
# Four frames cannot determine J_spin, so the free body's anatomical regressor takes its place.
_base_ = ['./contour_100it_synthetic.py']

data_root = 'data/h36m_mini/'
train_dataloader = dict(
    batch_size=4,
    dataset=dict(data_root=data_root, fits_file='fits/mosh_train.npz', bbox_padding=1.1),
)
custom_hooks = _base_.custom_hooks
custom_hooks[0].regressor = 'free_body_h36m'
custom_hooks[1] = dict(type='RefinementVisualizationHook', samples=[0, 1, 2, 3])
