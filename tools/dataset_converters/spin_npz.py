"""Bring SPIN's npz files of Human3.6M into MMPose's layout.

    python tools/dataset_converters/spin_npz.py h36m_train.npz --out data/h36m \\
        --metadata metadata.xml --body-model data/smpl
    python tools/dataset_converters/spin_npz.py h36m_valid_protocol1.npz --out data/h36m

writes annotation_body3d/spin/<name>.npz and, where the file has SMPL parameters,
fits/spin_<name>.npz under --out. SPIN stores 3D joints about the pelvis: with the 2D joints of its
training file and the cameras they are placed before the camera; its validation files have no 2D
joints, and serve evaluation. --image-root links the images too. Mind that SPIN's own script
extracts each of them one video frame late (20 ms).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmjrr.datasets.converters.command_line import (
    add_arguments,
    conversion,
    convert_and_report,
    run,
)
from mmjrr.datasets.converters.spin import read_spin


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('files', nargs='+', type=Path, help="npz files of SPIN's layout")
    add_arguments(parser)
    parser.add_argument(
        '--image-root', type=Path, help="folder under which the files' image names lie"
    )
    parser.add_argument(
        '--without-cameras',
        action='store_true',
        help='leave 3D joints about the pelvis, for evaluation alone',
    )
    args = parser.parse_args()
    for path in args.files:
        convert = conversion(
            args,
            ann_file=f'annotation_body3d/spin/{path.stem}.npz',
            fits_file=f'fits/spin_{path.stem}.npz',
            image_root=args.image_root,
            without_cameras=args.without_cameras,
        )
        convert_and_report(convert, read_spin(path))


if __name__ == '__main__':
    sys.exit(run(main))
