# VIBE on a folder of images, each a sequence of length one.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/image_folder.py',
    '../_base_/vibe.py',
]

test_dataloader = dict(dataset=dict(pipeline=_base_.vibe_pipeline))
