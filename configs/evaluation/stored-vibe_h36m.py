# Evaluate VIBE's stored estimates on S9 and S11.
_base_ = ['../_base_/default_runtime.py', '../_base_/h36m_evaluation.py']

model = dict(type='StoredPredictions', predictions='data/h36m/fits/vibe_test.npz')
test_evaluator = dict(title='VIBE')
