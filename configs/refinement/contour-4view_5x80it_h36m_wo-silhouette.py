# Ablation on Human3.6M: refinement of four views without the silhouette term, all else equal.
_base_ = ['./contour-4view_5x80it_h36m.py']

custom_hooks = _base_.custom_hooks
custom_hooks[0].energy.terms.silhouette = False
# No term sees outlines.
custom_hooks[0].refiner.share.update(outline_offset='fixed', part_outline_offset='fixed')
