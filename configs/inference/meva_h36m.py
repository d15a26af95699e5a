# MEVA on the images of Human3.6M, frame by frame as the paper used it; seq_len=90 for
# sequences, more for windows of 90 that overlap.
_base_ = ['./vibe_h36m.py']

model = dict(type='MEVA')
