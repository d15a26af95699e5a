# MEVA on a folder of images, each a sequence of length one.
_base_ = ['./vibe_image-folder.py']

model = dict(type='MEVA')
