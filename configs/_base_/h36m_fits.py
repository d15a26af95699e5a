# Human3.6M in MMPose's layout, with SPIN's fits and COCO-RLE masks next to it.
data_root = 'data/h36m/'
train_dataset = dict(
    type='H36MFitsDataset',
    data_root=data_root,
    ann_file='annotation_body3d/fps10/h36m_train.npz',
    camera_param_file='annotation_body3d/cameras.pkl',
    fits_file='fits/spin_train.npz',
    mask_file='masks/h36m_train.json',
    data_prefix=dict(img='images/'),
    subjects=['S1', 'S5', 'S6', 'S7', 'S8'],
    load_mask=True,
)
train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=False,
    sampler=dict(type='ResumableSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=train_dataset,
)
