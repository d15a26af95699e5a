# Run MEVA on the images of S9 and S11, frame by frame as in the paper. Its model_best.pth.tar is
# given on the command line.
_base_ = ['./vibe_h36m.py']

model = dict(type='MEVA')
test_evaluator = dict(title='MEVA')
