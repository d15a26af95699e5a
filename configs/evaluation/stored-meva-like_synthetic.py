# Evaluate the MEVA-like simulated estimates on S9 and S11 of the synthetic set.
_base_ = ['./stored-meva_h36m.py']

data_root = 'data/synthetic_h36m/'
model = dict(predictions=data_root + 'fits/meva_like_test.npz')
test_dataloader = dict(num_workers=0, dataset=dict(data_root=data_root))
test_evaluator = dict(
    title='MEVA-like',
    regressors=dict(_delete_=True, J_std=data_root + 'regressors/J_std.npy'),
    body_model=dict(_delete_=True, type='FreeBody'),
)
