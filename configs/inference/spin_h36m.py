# SPIN on the images of Human3.6M: estimates for evaluation, or initial fits for refinement.
_base_ = ['../_base_/default_runtime.py', '../_base_/h36m_images.py']

model = dict(type='SPIN')
