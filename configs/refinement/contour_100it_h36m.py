# The paper's refinement on Human3.6M: 100 Adam steps per batch, all terms on. The silhouette term
# starts at 10, the others at 1 (see docs/refinement.md, "Choosing terms").
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/discriminator.py',
    '../_base_/h36m_fits.py',
]

train_cfg = dict(type='RefinementLoop')
custom_hooks = [
    dict(
        type='SMPLPseudoGTHook',
        body_model=dict(type='SMPL', model_path='data/smpl', gender='neutral'),
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
        refiner=dict(num_iters=100, lr=1e-2, lr_mult=dict(betas=3.0, transl=0.3)),
    ),
    dict(type='RefinementVisualizationHook', interval=200),
]
