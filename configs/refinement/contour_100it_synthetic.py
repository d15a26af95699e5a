# The same refinement on the free body and the synthetic set: config and data differ, nothing else.
_base_ = ['./contour_100it_h36m.py']

data_root = 'data/synthetic_h36m/'
train_dataloader = dict(
    num_workers=0,
    dataset=dict(data_root=data_root, fits_file='fits/spin_like_train.npz'),
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
    ),
    dict(type='RefinementVisualizationHook', interval=5),
]
