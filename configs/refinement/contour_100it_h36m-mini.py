# Four real frames (MMPose's Human3.6M test data) on the free body, from MoSh's poses. J_spin cannot
# be learned from four frames, so the free body's anatomical regressor stands in for it.
_base_ = ['./contour_100it_synthetic.py']

data_root = 'data/h36m_mini/'
train_dataloader = dict(
    batch_size=4,
    dataset=dict(data_root=data_root, fits_file='fits/mosh_train.npz', bbox_padding=1.1),
)
custom_hooks = [
    dict(
        type='SMPLPseudoGTHook',
        body_model=dict(type='FreeBody'),
        renderer=dict(type='ContourSilhouette', image_size=(224, 224)),
        energy=dict(
            terms=dict(
                joint_3d=dict(scale=1.0),
                joint_2d=dict(scale=1.0),
                silhouette=dict(scale=10.0),
                adv_pose=dict(scale=1.0),
                adv_shape=dict(scale=1.0),
            ),
            silhouette_levels=(1, 4),
        ),
        num_iters=100,
        lr=1e-2,
        lr_mult=dict(betas=3.0, transl=0.3),
        regressor='free_body_h36m',
    ),
    dict(type='RefinementVisualizationHook', samples=[0, 1, 2, 3]),
]
