# Fine-tune SPIN on Human3.6M's pseudo ground truth, with J_opt in the losses of joints: the paper
# recommends it for future methods. Start from SPIN's weights:
#   --cfg-options model.checkpoint=data/spin/model_checkpoint.pt
_base_ = ['../_base_/h36m_training.py']

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
    mean_params='data/spin/smpl_mean_params.npz',
    body_model=body_model,
    loss=dict(
        joint_3d=dict(regressor=regressor),
        joint_2d=dict(regressor=regressor),
        silhouette=dict(mask_cells=28, gate=True),
    ),
)
train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        data_root=data_root,
        # Relative to data_root.
        fits_file='../../work_dirs/contour_100it_h36m/pseudo_gt.npz',
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    dataset=dict(data_root=data_root, pipeline=pipeline),
)
val_evaluator = dict(regressors=['J_std', regressor], body_model=body_model)
train_cfg = dict(by_epoch=True, max_epochs=5, val_interval=1)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=5e-5))
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(interval=1, max_keep_ckpts=2),
)
log_processor = dict(by_epoch=True)
