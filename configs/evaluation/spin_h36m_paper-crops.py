# Run SPIN on the crops of the paper's authors: the square around the person's mask, without margin
# and without SPIN's contrast stretch. The masks are those of tools/generate_masks.py on S9 and S11.
_base_ = ['./spin_h36m.py']

test_dataloader = dict(
    dataset=dict(
        mask_file='masks/h36m_test.json',
        load_mask=True,
        pipeline=[
            dict(type='LoadImage'),
            dict(type='CropPerson', size=224, stretch_contrast=False, around='mask'),
            dict(type='NormalizeImage'),
            dict(type='PackMeshInputs'),
        ],
    ),
)
test_evaluator = dict(title="SPIN, the paper's crops")
