# Fine-tune SPIN on Human3.6M's pseudo ground truth, with J_opt in the losses of joints: the paper
# recommends it for future methods. Start from SPIN's weights:
#   --cfg-options model.checkpoint=data/spin/model_checkpoint.pt
_base_ = ['../_base_/default_runtime.py']

data_root = 'data/h36m/'
regressor = 'work_dirs/contour_100it_h36m/J_opt.npy'
pipeline = [
    dict(type='LoadImage'),
    dict(type='CropPerson', size=224),
    dict(type='NormalizeImage'),
    dict(type='PackMeshInputs'),
]
body_model = dict(type='SMPL', model_path='data/smpl', gender='neutral')
model = dict(
    type='SPIN',
    mean_params='data/spin/smpl_mean_params.npz',
    body_model=body_model,
    loss=dict(
        joint_3d=dict(regressor=regressor, loss_weight=6.0),
        joint_2d=dict(regressor=regressor, loss_weight=35.0),
        silhouette=dict(mask_cells=28, gate=True, loss_weight=10.0),
    ),
)
train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='H36MFitsDataset',
        data_root=data_root,
        ann_file='annotation_body3d/fps10/h36m_train.npz',
        data_prefix=dict(img='images/'),
        # Relative to data_root.
        fits_file='../../work_dirs/contour_100it_h36m/pseudo_gt.npz',
        mask_file='masks/h36m_train.json',
        load_mask=True,
        subjects=['S1', 'S5', 'S6', 'S7', 'S8'],
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='H36MFitsDataset',
        data_root=data_root,
        ann_file='annotation_body3d/fps10/h36m_test.npz',
        data_prefix=dict(img='images/'),
        subjects=['S9', 'S11'],
        pipeline=pipeline,
        test_mode=True,
    ),
)
val_evaluator = dict(
    type='JointRegressorMetric',
    regressors=['J_std', regressor],
    protocol=['paper'],
    body_model=body_model,
)
train_cfg = dict(by_epoch=True, max_epochs=5, val_interval=1)
val_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='Adam', lr=5e-5))
default_hooks = dict(
    sampler_seed=dict(_delete_=True, type='DistSamplerSeedHook'),
    logger=dict(interval=50),
    checkpoint=dict(_delete_=True, type='CheckpointHook', interval=1, max_keep_ckpts=2),
)
log_processor = dict(by_epoch=True)
