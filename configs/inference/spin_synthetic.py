# SPIN on the test images of the synthetic set.
_base_ = ['./spin_h36m.py']

data_root = 'data/synthetic_h36m/'
test_dataloader = dict(num_workers=0, dataset=dict(data_root=data_root))
