"""Measure which errors of shapes masks cause by themselves: shapes of true poses fitted to masks.

    python tools/analysis_tools/mask_shapes.py data/synthetic_h36m masks.json --out shapes.json

The bodies have the true poses and places; one shape per subject is fitted to the masks alone, from
the true one, for each setting of the silhouette term (``SETTINGS``). With exact masks the shapes
stay where they are. With others they move to what the masks show, which is what refinement with
unknown poses tends to. *Shape* is the mean distance of the vertices from those of the true shape,
both centered, in the T-pose; *common* that of the mean of the subjects' errors, which more subjects
do not lower; *stature* how much too tall subjects are, and *span* how much too wide their arms.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmjrr.cli.options import OptionError, parse, run_command

if TYPE_CHECKING:
    from torch import Tensor

#: Options of the silhouette term by name; those without cells need no masks with probabilities.
SETTINGS: dict[str, dict[str, Any]] = {
    'pixels': {},
    'cells': dict(mask_cells=28),
    'cells, blur 0.5': dict(mask_cells=28, mask_blur=0.5),
    'cells, blur 0.7': dict(mask_cells=28, mask_blur=0.7),
    'cells, blur 1.0': dict(mask_cells=28, mask_blur=1.0),
}
STEPS, RATE = 60, 0.06
CHUNK = 64


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(run, parse(add_arguments, __doc__, argv))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument('data', type=Path, help='folder of a synthetic set with several views')
    parser.add_argument('masks', type=Path, help='masks of its training images')
    parser.add_argument('--settings', nargs='+', choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument('--every', type=int, default=1, help='use one of so many frames')
    parser.add_argument('--out', type=Path, help='file to write, JSON')


def run(args: argparse.Namespace) -> None:
    """Fit the shapes, print the table and write the file."""
    from mmjrr.io import versions, write_json
    from mmjrr.io.paths import check_suffix

    if args.every < 1:
        raise OptionError(f'--every: found {args.every}, expected at least 1')
    if args.out is not None:
        check_suffix(args.out, '.json')
    shapes = TrueShapes(args.data, args.masks, args.every)
    print(f'{"":16} {"shape":>6} {"common":>6} {"stature":>8} {"span":>8}   (mm)')
    table = {}
    for name in args.settings:
        errors = table[name] = shapes.errors_of(SETTINGS[name])
        print(
            f'{name:16} {errors["shape_mm"]:6.1f} {errors["common_mm"]:6.1f} '
            f'{errors["stature_mm"]:+8.1f} {errors["span_mm"]:+8.1f}',
            flush=True,
        )
    if args.out is not None:
        write_json(args.out, dict(settings=table, every=args.every, versions=versions()))
        print(f'Wrote {args.out}')


class TrueShapes:
    """Frames of a synthetic set with their true poses, and masks to which shapes are fitted.

    Args:
        data: Folder of the set.
        masks: File of masks of its training images.
        every: One of so many frames is used.

    Raises:
        DataError: A file is not what it should be.
    """

    def __init__(self, data: Path, masks: Path, every: int = 1) -> None:
        import torch

        from mmjrr.body_models import free_body
        from mmjrr.datasets import H36MFitsDataset
        from mmjrr.datasets.synthetic.truth import SyntheticTruth
        from mmjrr.engine.refinement_frames import RefinementFrames
        from mmjrr.rendering import ContourSilhouette

        self.body = free_body()
        dataset = H36MFitsDataset(
            data_root=str(data),
            ann_file='annotation_body3d/fps10/h36m_train.npz',
            fits_file='fits/spin_like_train.npz',
            mask_file=str(masks.resolve()),
            load_mask=True,
        )
        frames = RefinementFrames.of_dataset(
            dataset, range(0, len(dataset), every), image_size=(224, 224), device='cpu'
        )
        self.observed, self.subject = frames.observed, frames.groups.subject
        true = SyntheticTruth(data, self.body).parameters('train')
        row = {name: number for number, name in enumerate(true['imgname'].tolist())}
        rows = [row[sample.imgname] for sample in frames.samples]
        pose, betas, self.transl = (
            torch.from_numpy(true[name][rows]).float() for name in ('pose', 'betas', 'transl')
        )
        self.pose = dict(global_orient=pose[:, :3], body_pose=pose[:, 3:])
        first = [int(torch.nonzero(self.subject == s)[0]) for s in range(len(frames.subjects))]
        self.betas = betas[first]
        self.renderer = ContourSilhouette(self.body.faces_tensor, image_size=(224, 224))

    def errors_of(self, options: dict[str, Any]) -> dict[str, float]:
        """Fit shapes with options of the silhouette term, and return their errors in mm."""
        import torch

        from mmjrr.refinement.terms import SilhouetteTerm

        term = SilhouetteTerm(**options)
        observed = term.prepare(self.observed)
        betas = self.betas.clone().requires_grad_()
        optimizer = torch.optim.Adam([betas], lr=RATE)
        for step in range(STEPS):
            optimizer.param_groups[0]['lr'] = RATE * (1 + math.cos(math.pi * step / STEPS)) / 2
            optimizer.zero_grad()
            for start in range(0, len(self.subject), CHUNK):
                self._energy(term, observed, betas, slice(start, start + CHUNK)).backward()
            optimizer.step()
        return self._errors(betas.detach())

    def _energy(self, term: Any, observed: Any, betas: Tensor, frames: slice) -> Tensor:
        """Return the energy of some frames, whose pelvis stays in its place."""
        from mmjrr.refinement import PosedBodies

        shape = betas[self.subject[frames]]
        moved = self._pelvis(self.betas[self.subject[frames]]) - self._pelvis(shape)
        pose = {name: value[frames] for name, value in self.pose.items()}
        body = self.body(betas=shape, transl=self.transl[frames] + moved, **pose)
        part = observed[frames]
        bodies = PosedBodies(
            rotations=shape, betas=shape, transl=moved, vertices=body.vertices,
            camera=part.camera, image_size=(224, 224), renderer=self.renderer,
        )  # fmt: skip
        total: Tensor = term(bodies, part).sum()
        return total

    def _pelvis(self, betas: Tensor) -> Tensor:
        pelvis: Tensor = self.body.articulate(betas=betas).joints[:, 0]
        return pelvis

    def _errors(self, betas: Tensor) -> dict[str, float]:
        import torch

        with torch.no_grad():
            found, true = (self.body(betas=b).vertices for b in (betas, self.betas))
        error = found - true
        error = error - error.mean(1, keepdim=True)

        def excess(axis: int) -> float:
            extents = [v[..., axis].amax(1) - v[..., axis].amin(1) for v in (found, true)]
            return float((extents[0] - extents[1]).mean())

        values = dict(
            shape=float(error.norm(dim=-1).mean()),
            common=float(error.mean(0).norm(dim=-1).mean()),
            stature=excess(1),
            span=excess(0),
        )
        return {f'{name}_mm': round(1000 * value, 2) for name, value in values.items()}


if __name__ == '__main__':
    sys.exit(main())
