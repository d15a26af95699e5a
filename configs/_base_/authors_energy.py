# The term weights and the schedule of the paper's authors' public code, in this package's units:
# fixed weights, silhouettes compared pixel by pixel, one learning rate for all variables, and a
# start from the 2D joints.
authors_energy = dict(
    terms=dict(
        joint_3d=dict(weight=196.0),
        joint_2d=dict(weight=14.8),
        silhouette=dict(weight=100.0, levels=(1,)),
        adv_pose=dict(weight=0.4),
        adv_shape=dict(weight=10.0),
    ),
)
authors_refiner = dict(num_iters=100, lr=1e-2, init_translation='2d')
