# Run SPIN on the images of S9 and S11. Its model_checkpoint.pt is given on the command line.
_base_ = ['../_base_/default_runtime.py', '../_base_/h36m_evaluation.py']

model = dict(type='SPIN')
test_dataloader = dict(
    batch_size=64,
    dataset=dict(
        data_prefix=dict(img='images/'),
        pipeline=[
            dict(type='LoadImage'),
            dict(type='CropPerson', size=224),
            dict(type='NormalizeImage'),
            dict(type='PackMeshInputs'),
        ],
    ),
)
test_evaluator = dict(title='SPIN')
