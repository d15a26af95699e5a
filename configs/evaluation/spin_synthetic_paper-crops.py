# Run SPIN on the crops of the paper's authors of the synthetic set's test images.
_base_ = ['./spin_h36m_paper-crops.py']

data_root = 'data/synthetic_h36m/'
test_dataloader = dict(batch_size=16, num_workers=0, dataset=dict(data_root=data_root))
test_evaluator = dict(
    regressors=dict(_delete_=True, J_std=data_root + 'regressors/J_std.npy'),
    body_model=dict(_delete_=True, type='FreeBody'),
)
