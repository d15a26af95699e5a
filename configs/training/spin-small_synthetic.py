# A small network in SPIN's place, trained from scratch on the synthetic set: initial fits as ground
# truth, or refined ones (train_dataloader.dataset.fits_file), under any joint regressor.
_base_ = ['../_base_/h36m_training.py']

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
    backbone=dict(type='SmallFeatures'),
    body_model=dict(type='FreeBody'),
    loss=dict(
        image_size=size,
        joint_3d=dict(regressor=regressor),
        joint_2d=dict(regressor=regressor),
    ),
)
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        data_root=data_root,
        fits_file='fits/spin_like_train.npz',
        crop_size=(size, size),
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=0,
    dataset=dict(data_root=data_root, pipeline=pipeline),
)
val_evaluator = dict(
    regressors=dict(J_std=data_root + 'regressors/J_std.npy'),
    body_model=dict(type='FreeBody'),
)
iterations = 800
train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=iterations)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=5e-4))
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=iterations, eta_min=5e-6, by_epoch=False),
]
default_hooks = dict(
    param_scheduler=dict(_delete_=True, type='ParamSchedulerHook'),
    logger=dict(interval=10),
    checkpoint=dict(by_epoch=False, interval=iterations, max_keep_ckpts=1),
)
