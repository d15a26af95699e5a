# A folder of images, one person each, cropped for SPIN and the models built on it.
test_dataloader = dict(
    batch_size=64,
    num_workers=2,
    dataset=dict(
        type='ImageFolderDataset',
        data_root='data/images/',
        boxes=None,  # or a JSON file; for tight boxes, set padding=1.2 below
        pipeline=[
            dict(type='LoadImage'),
            dict(type='CropPerson', size=224, padding=1.0),
            dict(type='NormalizeImage'),
            dict(type='PackMeshInputs'),
        ],
    ),
)
seq_len = 1
