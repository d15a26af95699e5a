# Images of Human3.6M in MMPose's layout, cropped for SPIN and the models built on it.
data_root = 'data/h36m/'
test_dataloader = dict(
    batch_size=64,
    num_workers=2,
    dataset=dict(
        type='H36MFitsDataset',
        data_root=data_root,
        ann_file='annotation_body3d/fps10/h36m_test.npz',
        camera_param_file='annotation_body3d/cameras.pkl',
        data_prefix=dict(img='images/'),
        # The video is missing from the release, so there are no images.
        exclude_sequences=['S11_Directions.54138969'],
        pipeline=[
            dict(type='LoadImage'),
            dict(type='CropPerson', size=224),
            dict(type='NormalizeImage'),
            dict(type='PackMeshInputs'),
        ],
        test_mode=True,
    ),
)
# Consecutive frames that the model sees together; VIBE and MEVA can take more than one.
seq_len = 1
