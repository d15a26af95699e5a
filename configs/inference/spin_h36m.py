# SPIN on the images of Human3.6M: initial fits of the training set, estimates of the test set.
_base_ = ['../_base_/default_runtime.py', '../_base_/h36m_images.py']

model = dict(type='SPIN', mean_params='data/spin/smpl_mean_params.npz')
