# Run VIBE on the images of S9 and S11, frame by frame as in the paper. Its checkpoint is given on
# the command line.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/h36m_evaluation.py',
    '../_base_/vibe.py',
]

test_dataloader = dict(
    batch_size=64,
    dataset=dict(data_prefix=dict(img='images/'), pipeline=_base_.vibe_pipeline),
)
test_evaluator = dict(title='VIBE')
