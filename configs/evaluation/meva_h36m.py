# MEVA itself, frame by frame as the paper used it; needs its model_best.pth.tar.
_base_ = ['./vibe_h36m.py']

model = dict(type='MEVA')
test_evaluator = dict(title='MEVA')
