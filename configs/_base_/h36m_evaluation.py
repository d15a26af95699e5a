# S9 and S11 of Human3.6M in MMPose's layout, under the three regressors of the paper's Table I.
data_root = 'data/h36m/'
test_dataloader = dict(
    batch_size=256,
    num_workers=2,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='H36MFitsDataset',
        data_root=data_root,
        ann_file='annotation_body3d/fps10/h36m_test.npz',
        camera_param_file='annotation_body3d/cameras.pkl',
        subjects=['S9', 'S11'],
        # As in SPIN's preprocessing and in the code of the paper's authors, the three sequences of
        # S9 with shifted annotation count. The video of S11's Directions.54138969 is missing, so
        # there are no images to estimate from.
        exclude_sequences=['S11_Directions.54138969'],
        test_mode=True,
    ),
)
test_cfg = dict()
test_evaluator = dict(
    type='JointRegressorMetric',
    regressors=['J_std', 'J_spin', 'J_opt'],
    protocol=['paper'],
    body_model=dict(type='SMPL', model_path='data/smpl', gender='neutral'),
)
