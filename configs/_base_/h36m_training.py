# Training of a mesh estimator on Human3.6M's training subjects, with fits as ground truth, joints
# under a joint regressor, and masks. S9 and S11 are its validation.
_base_ = ['./default_runtime.py']

model = dict(
    type='SPIN',
    loss=dict(
        joint_3d=dict(loss_weight=6.0),
        joint_2d=dict(loss_weight=35.0),
        silhouette=dict(loss_weight=10.0),
    ),
)
train_dataloader = dict(
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='H36MFitsDataset',
        ann_file='annotation_body3d/fps10/h36m_train.npz',
        data_prefix=dict(img='images/'),
        mask_file='masks/h36m_train.json',
        load_mask=True,
        subjects=['S1', 'S5', 'S6', 'S7', 'S8'],
    ),
)
val_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='H36MFitsDataset',
        ann_file='annotation_body3d/fps10/h36m_test.npz',
        data_prefix=dict(img='images/'),
        subjects=['S9', 'S11'],
        test_mode=True,
    ),
)
val_evaluator = dict(type='JointRegressorMetric', protocol=['paper'])
val_cfg = dict()
default_hooks = dict(
    sampler_seed=dict(_delete_=True, type='DistSamplerSeedHook'),
    checkpoint=dict(_delete_=True, type='CheckpointHook'),
)
