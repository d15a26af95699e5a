# Refinement of a person on real photographs, seen by four calibrated cameras, on the free body.
# tools/demo_pose2sim.py makes the data. There are neither fits nor 3D joints: joints are
# triangulated from a detector's 2D joints, and bodies are fitted to them first. The detector's
# joints are not Human3.6M's, so they have a low weight, and no regressor is learned. No outline
# offset is fitted: with such joints, nothing tells clothes from girth (docs/real_frames.md).
_base_ = ['./contour-4view_5x80it_synthetic.py']

train_dataloader = dict(
    batch_size=64,
    dataset=dict(data_root='data/pose2sim/', fits_file=None, triangulate=True),
)
custom_hooks = _base_.custom_hooks
custom_hooks[0].refiner.num_iters = 150
custom_hooks[0].update(
    regressor='free_body_h36m',
    learn_regressor=False,
    calibration=dict(rounds=1),
    energy=dict(
        terms=dict(
            joint_3d=dict(scale=0.3, root=None),
            joint_2d=False,
            silhouette=dict(scale=10.0),
            joint_limits=10.0,
            adv_pose=False,
            adv_shape=False,
        ),
        silhouette_levels=(1, 4, 16),  # the joints say nothing about the head, which starts far off
    ),
)
custom_hooks[1].interval = 0
