# Refinement of Human3.6M's four synchronized views: the views of a moment share pose and place, and
# a subject has one shape. Five rounds of 80 Adam steps on 400 moments calibrate regressor and
# shapes; then all frames are refined once. No discriminators. Silhouettes are compared in the cells
# of Mask R-CNN's mask head, without parts of limbs that a mask has lost. How hands, feet and head
# turn is also taken from the initial fits, by their errors. Weights of these priors and of the
# silhouette are limited to the ratios of the numbers of independent errors: 69 of rotations in each
# of four views, and 69 in a moment, to 51 of joints in a moment. How far clothes put the outline
# off the body is fitted for each subject and each part of its body (docs/experiments.md).
_base_ = ['./contour_100it_h36m.py']

train_dataloader = dict(batch_sampler=dict(type='MomentBatchSampler'))
custom_hooks = _base_.custom_hooks
custom_hooks[0].update(
    energy=dict(
        terms=dict(
            joint_3d=dict(scale=1.0, root=None),
            joint_2d=dict(scale=1.0),
            silhouette=dict(scale=10.0, mask_cells=28, gate='limbs'),
            initial_pose=dict(scale=5.4),
            pose_prior=dict(scale=1.35),
            adv_pose=False,
            adv_shape=False,
        ),
    ),
    refiner=dict(
        num_iters=80,
        lr=1e-2,
        lr_mult=dict(betas=3.0, transl=0.3),
        eta_min_ratio=0.05,
        share=dict(
            pose='moment',
            betas='subject',
            outline_offset='subject',
            part_outline_offset='subject',
        ),
    ),
    calibration=dict(
        rounds=5,
        moments=400,
        max_ratios=dict(silhouette=3.0, initial_pose=5.4, pose_prior=1.35),
    ),
    root=None,
)
