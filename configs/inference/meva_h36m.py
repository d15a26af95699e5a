# MEVA on the images of Human3.6M, frame by frame as in the paper. Set seq_len=90 for sequences, or
# a larger number for overlapping windows of 90 frames.
_base_ = ['./vibe_h36m.py']

model = dict(type='MEVA')
