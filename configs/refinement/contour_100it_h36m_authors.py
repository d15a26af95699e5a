# The term weights and the schedule of the paper's authors' public code, in this package's units,
# everything else as in contour_100it_h36m.py: fixed weights, silhouettes compared pixel by pixel,
# one learning rate for all variables, and a start from the 2D joints.
#
# Left out of their code: a focal length of 5000 pixels on the crop (the dataset's own cameras are
# used), a regressor that changes during refinement (J_spin stays), soft masks, batches of 256, and
# a shape discriminator of 10-10-5-1 units.
_base_ = ['./contour_100it_h36m.py']

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
