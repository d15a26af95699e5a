# SPIN on a folder of images.
_base_ = ['../_base_/default_runtime.py', '../_base_/image_folder.py']

model = dict(type='SPIN')
