# VIBE on the images of Human3.6M, frame by frame as in the paper. Set seq_len=16 for sequences.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/h36m_images.py',
    '../_base_/vibe.py',
]

test_dataloader = dict(dataset=dict(pipeline=_base_.vibe_pipeline))
