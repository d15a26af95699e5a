"""Draw Human3.6M's 17 joints on the free body, with their numbers in both orders.

python tools/analysis_tools/draw_skeleton.py docs/images/joint_orders.png
"""

from __future__ import annotations

import argparse

import numpy as np

from mmjrr.joints import H36M_BONES, H36M_JOINTS_MMPOSE, H36M_JOINTS_SPIN

SIDES = {'left': '#0072b2', 'right': '#d55e00'}
MIDDLE = '#333333'


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', help='picture to write')
    args = parser.parse_args()

    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    from matplotlib.collections import PolyCollection

    from mmjrr.body_models import free_body
    from mmjrr.io import atomic_write
    from mmjrr.regressors import JointRegressor

    body = free_body()
    vertices = body().vertices[0]
    joints = JointRegressor.load('free_body_h36m')(vertices)[:, :2].detach().numpy()
    points = vertices.detach().numpy()

    figure, axes = plt.subplots(figsize=(9, 8.2), layout='constrained')
    # Nearer faces last, shaded by their normals.
    corners = points[np.asarray(body.faces)]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    light = np.clip(normals[:, 2] / np.linalg.norm(normals, axis=1).clip(1e-12), 0, 1)
    order = np.argsort(corners[:, :, 2].mean(1))
    gray = (0.80 + 0.15 * light[order])[:, None].repeat(3, 1)
    axes.add_collection(PolyCollection(corners[order, :, :2], facecolors=gray, edgecolors='none'))
    for bone in H36M_BONES:
        ends = joints[[H36M_JOINTS_MMPOSE.index(joint) for joint in bone]]
        axes.plot(*ends.T, color='#888888', lw=2, zorder=3)
    for number, name in enumerate(H36M_JOINTS_MMPOSE):
        color = SIDES.get(name.split('_')[0], MIDDLE)
        x, y = joints[number]
        axes.plot(x, y, 'o', color=color, ms=7, zorder=4)
        numbers = f'{number}' if H36M_JOINTS_SPIN[number] == name else (
            f'{number} / {H36M_JOINTS_SPIN.index(name)}'
        )  # fmt: skip
        side = 1 if name.startswith('left') or color == MIDDLE else -1
        on_arm = name.split('_')[-1] in ('shoulder', 'elbow', 'wrist')
        axes.annotate(
            f'{numbers}  {name}',
            (x, y),
            xytext=(4 * side, 8) if on_arm else (10 * side, 14 if name == 'pelvis' else -4),
            textcoords='offset points',
            ha='left' if side > 0 else 'right',
            va='bottom' if on_arm else 'baseline',
            rotation=30 * side if on_arm else 0,
            rotation_mode='anchor',
            color=color,
            fontsize=10,
            zorder=5,
        )
    axes.set_title("Joint numbers: MMPose's order / SPIN's, where they differ")
    axes.set_aspect('equal')
    axes.autoscale_view()
    axes.set_axis_off()
    with atomic_write(args.out) as temporary:
        figure.savefig(temporary, dpi=100, format='png', metadata={'Software': None})


if __name__ == '__main__':
    main()
