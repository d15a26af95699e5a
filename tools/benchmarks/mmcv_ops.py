"""Compare the results of mmcv's compiled operators and of their shim.

Run it in an environment with the compiled operators and in one with mmcv-lite, on the same images,
then compare the two files:

    python tools/benchmarks/mmcv_ops.py run compiled.npz IMAGE [IMAGE ...]
    python tools/benchmarks/mmcv_ops.py run shim.npz IMAGE [IMAGE ...]
    python tools/benchmarks/mmcv_ops.py compare compiled.npz shim.npz

It runs the operators on random input, and mmdet's Mask R-CNN (ResNet-50, FPN) on the images, with
the weights of ``--checkpoint`` or with random weights. Random heads are scaled up, so that scores
and boxes of regions differ and non-maximum suppression has an effect.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmjrr.datasets.transforms import read_image
from mmjrr.io import atomic_write
from mmjrr.segmentation import MaskRCNN, ensure_mmcv_ops


def main() -> None:
    """Compute, or compare two files of results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)
    run_parser = commands.add_parser('run')
    run_parser.add_argument('out', type=Path)
    run_parser.add_argument('images', nargs='+')
    run_parser.add_argument('--config', help="mmdet's config (default: R50-FPN, COCO)")
    run_parser.add_argument('--checkpoint')
    compare_parser = commands.add_parser('compare')
    compare_parser.add_argument('files', nargs=2, type=Path)
    args = parser.parse_args()
    if args.command == 'run':
        arrays = {'served_by': np.array(ensure_mmcv_ops()), **operators()}
        arrays.update(detections(args.images, args.config, args.checkpoint))
        with atomic_write(args.out) as temporary:
            np.savez(temporary, **arrays)
    else:
        compare(*(dict(np.load(path)) for path in args.files))


def operators() -> dict[str, np.ndarray]:
    """Run each operator on random input."""
    import mmcv.ops

    rng = np.random.default_rng(0)
    outputs: dict[str, Any] = {}
    corner = rng.uniform(0, 80, (2000, 2))
    boxes = torch.tensor(np.hstack([corner, corner + rng.uniform(1, 40, (2000, 2))])).float()
    scores = torch.tensor(rng.uniform(0, 1, 2000)).float()
    for offset in (0, 1):
        kept = mmcv.ops.nms(boxes, scores, 0.5, offset=offset)[1]
        outputs[f'operator/nms, offset {offset}'] = kept.numpy()
    regions = torch.cat([torch.tensor(rng.integers(0, 2, (200, 1))).float(), boxes[:200]], 1)
    for ratio in (0, 2):
        for aligned in (True, False):
            features = torch.tensor(rng.normal(size=(2, 8, 64, 64))).float().requires_grad_()
            out = mmcv.ops.roi_align(features, regions, (7, 7), 0.5, ratio, 'avg', aligned)
            out.backward(torch.tensor(rng.normal(size=out.shape)).float())
            name = f'sampling_ratio {ratio}, aligned {aligned}'
            outputs[f'operator/roi_align, {name}'] = out.detach().numpy()
            assert features.grad is not None
            outputs[f'operator/roi_align gradient, {name}'] = features.grad.numpy()
    return outputs


def detections(
    images: list[str], config: str | None, checkpoint: str | None
) -> dict[str, np.ndarray]:
    """Return boxes, scores and soft masks of all classes in each image."""
    torch.manual_seed(0)
    model = MaskRCNN(checkpoint, config=config, soft=True, score_thr=0.05)
    if checkpoint is None:
        _sharpen(model.network)
    arrays = {}
    for number, path in enumerate(images):
        item = model.prepare(dict(img=read_image(path)[..., ::-1], img_id=0))
        batch = {name: [value] for name, value in item.items()}
        with torch.no_grad():
            result = model.network.test_step(batch)[0].pred_instances
        for name in ('bboxes', 'scores', 'labels', 'masks'):
            arrays[f'{number}/{name}'] = result[name].numpy()
    return arrays


def _sharpen(network: Any) -> None:
    """Scale up random heads, whose outputs are nearly the same for all regions."""
    head = network.roi_head
    with torch.no_grad():
        for layer, factor in (
            (network.rpn_head.rpn_cls, 30), (network.rpn_head.rpn_reg, 10),
            (head.bbox_head.fc_cls, 60), (head.bbox_head.fc_reg, 60),
            (head.mask_head.conv_logits, 30),
        ):  # fmt: skip
            layer.weight *= factor


def compare(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    """Print the differences between the results of two implementations."""
    print(f'{first["served_by"]} and {second["served_by"]}')
    for name in sorted(name for name in first if name.startswith('operator/')):
        a, b = first[name], second[name]
        same = a.shape == b.shape
        worst = np.abs(a.astype('f8') - b).max() if same else None
        size = np.abs(a).max()
        print(f'  {name[9:]}: ' + (f'{worst:.2e} of at most {size:.3g}' if same else 'other shape'))
    worst_of: dict[str, float] = {}
    instances = 0
    for number in sorted({name.split('/')[0] for name in first if name[0].isdigit()}, key=int):
        labels = first[f'{number}/labels'], second[f'{number}/labels']
        if not np.array_equal(*labels):
            print(f'  image {number}: {len(labels[0])} and {len(labels[1])} instances differ')
            continue
        instances += len(labels[0])
        for name in ('bboxes', 'scores', 'masks'):
            a, b = (file[f'{number}/{name}'].astype('f8') for file in (first, second))
            if a.size:
                worst_of[name] = max(worst_of.get(name, 0.0), float(np.abs(a - b).max()))
    print(
        f'  {instances} instances: largest difference of boxes {worst_of["bboxes"]:.2e} px, scores '
        f'{worst_of["scores"]:.2e}, masks {worst_of["masks"]:.0f} of 255'
    )


if __name__ == '__main__':
    main()
