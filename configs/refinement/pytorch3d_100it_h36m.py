# The same refinement through PyTorch3D's soft silhouette, in the setting of the paper's authors.
# PyTorch3D: https://github.com/facebookresearch/pytorch3d/blob/main/INSTALL.md
_base_ = ['./contour_100it_h36m.py']

custom_hooks = [
    dict(
        type='SMPLPseudoGTHook',
        body_model=dict(type='SMPL', model_path='data/smpl', gender='neutral'),
        renderer=dict(
            type='PyTorch3DSilhouette',
            image_size=(224, 224),
            faces_per_pixel=1,
            blur_radius=0.0,
            sigma=1e-4,
        ),
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
    dict(type='RefinementVisualizationHook', interval=200),
]
