# The refinement of contour_100it_h36m.py with PyTorch3D's soft silhouette.
_base_ = ['./contour_100it_h36m.py', '../_base_/pytorch3d_renderer.py']

custom_hooks = _base_.custom_hooks
custom_hooks[0].renderer = _base_.pytorch3d_renderer
