"""A report of a sphere, with names that contain HTML and scripts."""

from __future__ import annotations

import numpy as np
import torch

from mmjrr.evaluation.result import Score
from mmjrr.evaluation.uncertainty import ErrorInterval
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.regressors import JointRegressor
from mmjrr.visualization.frames import Frame
from mmjrr.visualization.report.content import Evaluation, Refinement, Report

#: Each sets window.hacked if the page runs or parses it.
HOSTILE = (
    '</script><script>window.hacked=1</script>',
    '<img src=x onerror="window.hacked=1">',
    '"><svg onload=window.hacked=1>',
    "'-window.hacked=1-'",
    '<!--<script>',
    '{{ 7 * 7 }}\u2028&amp;',
)
SIZE = 120


def icosphere(rounds: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """A sphere of 642 vertices by default: an icosahedron, subdivided."""
    phi = (1 + 5**0.5) / 2
    points = [(-1, phi, 0), (1, phi, 0), (-1, -phi, 0), (1, -phi, 0), (0, -1, phi), (0, 1, phi),
              (0, -1, -phi), (0, 1, -phi), (phi, 0, -1), (phi, 0, 1), (-phi, 0, -1),
              (-phi, 0, 1)]  # fmt: skip
    faces = [(0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4),
             (11, 10, 2), (10, 7, 6), (7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8),
             (3, 8, 9), (4, 9, 5), (2, 4, 11), (6, 2, 10), (8, 6, 7), (9, 8, 1)]  # fmt: skip
    vertices = [np.array(point) / np.linalg.norm(point) for point in points]
    for _ in range(rounds):
        middles: dict[tuple[int, int], int] = {}

        def middle(a: int, b: int, middles=middles) -> int:
            key = min(a, b), max(a, b)
            if key not in middles:
                point = vertices[a] + vertices[b]
                middles[key] = len(vertices)
                vertices.append(point / np.linalg.norm(point))
            return middles[key]

        split = []
        for a, b, c in faces:
            ab, bc, ca = middle(a, b), middle(b, c), middle(c, a)
            split += [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
        faces = split
    return np.array(vertices), np.array(faces)


def regressors(num_vertices: int) -> dict[str, JointRegressor]:
    made = {}
    for seed, name in enumerate(('J_std', HOSTILE[2], 'J_opt')):
        weight = np.zeros((17, num_vertices))
        rng = np.random.default_rng(seed)
        for row in weight:
            row[rng.choice(num_vertices, 3, replace=False)] = (0.5, 0.3, 0.2)
        made[name] = JointRegressor(torch.from_numpy(weight), H36M_JOINTS_MMPOSE, 'toy')
    return made


def example_report(count: int = 14) -> Report:
    """Frames 0, 1, ... have growing errors; the gallery is sorted, the worst first."""
    vertices, faces = icosphere()
    loaded = regressors(len(vertices))
    frames = []
    photo = np.full((SIZE, SIZE, 3), (40, 90, 60), dtype=np.uint8)
    for number in reversed(range(count)):
        mesh = 0.8 * vertices + [0, 0, 4 + 0.01 * number]
        joints = {'label': np.random.default_rng(9).normal(size=(17, 3)) * 0.3 + [0, 0, 4]}
        joints['label'][3] = np.nan
        joints |= {name: r.weight.numpy() @ mesh for name, r in loaded.items()}
        points = {n: p[:, :2] / p[:, 2:] * 200 + SIZE / 2 for n, p in joints.items()}
        frames.append(
            Frame(
                source=HOSTILE[1] if number % 2 else 'Even',
                imgname=f'S9/{HOSTILE[number % len(HOSTILE)]}_{number}.jpg',
                labels=dict(subject='S9', action=HOSTILE[0], camera='1', frame=str(number))
                if number % 3
                else {},
                size=SIZE,
                camera=(200.0, 200.0, SIZE / 2, SIZE / 2, 0, 0, 0, 0, 0),
                box=(0.0, 0.0, SIZE, SIZE),
                photo=photo,
                mask=[np.array([[20.0, 20], [100, 20], [100, 100]])],
                meshes={'initial': mesh * [1.1, 1, 1], 'refined': mesh} if number % 2 else
                {'estimate': mesh},
                joints=joints,
                points=points,
                joint_names=H36M_JOINTS_MMPOSE,
                iou={'refined': 0.5 + 0.03 * number},
                mpjpe={name: 10.0 * number + k for k, name in enumerate(loaded)},
                init_mpjpe={name: 12.0 * number for name in loaded} if number % 2 else {},
            )
        )  # fmt: skip
    scores = [
        Score(name, 'paper', by, group, 8, 50.0 - 7 * k + 3 * g, float('nan') if g == 2 else 30.0)
        for k, name in enumerate(loaded)
        for by, groups in (('all', ['all']), ('joint', ['left_knee', 'head', HOSTILE[4]]))
        for g, group in enumerate(groups)
    ]
    return Report(
        title=HOSTILE[0],
        summary=HOSTILE[5],
        evaluations=[
            Evaluation(
                title=title,
                frames=8,
                scores=scores,
                protocols={'paper': HOSTILE[1]},
                intervals=[
                    ErrorInterval('paper', 'mpjpe', name, None, 50.0, 45.0, 55.0, 30, 2)
                    for name in loaded
                ],
                errors={('paper', name): np.linspace(10, 90, 40) for name in loaded},
                notes=[HOSTILE[3]],
            )
            for title in (HOSTILE[0], 'B')
        ],
        refinement=Refinement(
            summary={'frames': 8, 'iou': 0.9, HOSTILE[1]: 1},
            curves={'iou_opt': (np.array([1.0, 2]), np.array([0.8, 0.9])),
                    f'energy_{HOSTILE[0]}': (np.array([1.0, 2]), np.array([3.0, 2]))},
            iou=np.linspace(0.8, 0.99, 20),
            init_iou=np.linspace(0.5, 0.9, 20),
            energies={HOSTILE[1]: (2.0, 1.0)},
        ),
        regressors=loaded,
        body_picture=vertices,
        faces=faces,
        label_consistency={
            'format': 'mmjrr.label_consistency/1',
            'sentence': HOSTILE[0],
            'residual_rms_mm': {HOSTILE[1]: 2.5},
            'offsets': {
                HOSTILE[2]: {
                    'joints': {
                        HOSTILE[3]: {
                            'offset_mm': [3.0, 4.0, 0.0], 'pvalue': 1e-4, 'significant': True
                        }
                    }
                }
            },
        },
        frames=frames,
        provenance={HOSTILE[0]: {'a': HOSTILE[0]}},
        notes=[HOSTILE[0]],
    )  # fmt: skip
