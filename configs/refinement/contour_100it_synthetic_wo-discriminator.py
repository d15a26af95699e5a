# Ablation of the paper (Section 4.3): refinement without this term, all else equal.
_base_ = ['./contour_100it_synthetic.py']

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
                adv_pose=False,
                adv_shape=False,
            ),
            silhouette_levels=(1, 4),
        ),
        num_iters=100,
        lr=1e-2,
        lr_mult=dict(betas=3.0, transl=0.3),
    ),
    dict(type='RefinementVisualizationHook', interval=5),
]
