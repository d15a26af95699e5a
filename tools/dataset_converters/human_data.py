"""Bring MMHuman3D's HumanData npz files of Human3.6M into MMPose's layout.

    python tools/dataset_converters/human_data.py h36m_mosh_train.npz --out data/h36m \\
        --body-model data/smpl

writes annotation_body3d/human_data/<name>.npz, fits/human_data_<name>.npz where the file has SMPL
parameters, and annotation_body3d/cameras.pkl, unless there is one already. 3D joints, which are
about the pelvis, are placed before the camera by the 2D joints. --image-root links the images too.
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
from mmjrr.datasets.converters.human_data import read_human_data


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('files', nargs='+', type=Path, help='HumanData files')
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
            ann_file=f'annotation_body3d/human_data/{path.stem}.npz',
            fits_file=f'fits/human_data_{path.stem}.npz',
            image_root=args.image_root,
            without_cameras=args.without_cameras,
        )
        convert_and_report(convert, read_human_data(path))


if __name__ == '__main__':
    sys.exit(run(main))
