# A small network in SPIN's place, trained from scratch on the synthetic set: initial fits as ground
# truth, or refined ones (train_dataloader.dataset.fits_file), under any joint regressor.
_base_ = ['../_base_/default_runtime.py']

data_root = 'data/synthetic_h36m/'
regressor = data_root + 'regressors/J_std.npy'
size = 112
pipeline = [
    dict(
        type='CacheImage', transforms=[dict(type='LoadImage'), dict(type='CropPerson', size=size)]
    ),
    dict(type='NormalizeImage'),
    dict(type='PackMeshInputs'),
]
model = dict(
    type='SPIN',
    backbone=dict(type='SmallFeatures'),
    body_model=dict(type='FreeBody'),
    loss=dict(
        image_size=size,
        joint_3d=dict(regressor=regressor, loss_weight=6.0),
        joint_2d=dict(regressor=regressor, loss_weight=35.0),
        silhouette=dict(loss_weight=10.0),
    ),
)
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='H36MFitsDataset',
        data_root=data_root,
        ann_file='annotation_body3d/fps10/h36m_train.npz',
        data_prefix=dict(img='images/'),
        fits_file='fits/spin_like_train.npz',
        mask_file='masks/h36m_train.json',
        load_mask=True,
        crop_size=(size, size),
        subjects=['S1', 'S5', 'S6', 'S7', 'S8'],
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=0,
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
    regressors=dict(J_std=data_root + 'regressors/J_std.npy'),
    protocol=['paper'],
    body_model=dict(type='FreeBody'),
)
iterations = 800
train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=iterations)
val_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='Adam', lr=5e-4))
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=iterations, eta_min=5e-6, by_epoch=False),
]
default_hooks = dict(
    sampler_seed=dict(_delete_=True, type='DistSamplerSeedHook'),
    param_scheduler=dict(_delete_=True, type='ParamSchedulerHook'),
    logger=dict(interval=10),
    checkpoint=dict(
        _delete_=True,
        type='CheckpointHook',
        by_epoch=False,
        interval=iterations,
        max_keep_ckpts=1,
    ),
)
