# The refinement of contour_100it_h36m_authors.py on the free body and the synthetic set.
_base_ = ['./contour_100it_synthetic.py']

custom_hooks = _base_.custom_hooks
custom_hooks[0].energy = dict(
    terms=dict(
        joint_3d=dict(weight=196.0),
        joint_2d=dict(weight=14.8),
        silhouette=dict(weight=100.0, levels=(1,)),
        adv_pose=dict(weight=0.4),
        adv_shape=dict(weight=10.0),
    ),
)
custom_hooks[0].refiner = dict(num_iters=100, lr=1e-2, init_translation='2d')
