"""Convert h36m-fetch's files of Human3.6M into MMPose's layout.

    python tools/dataset_converters/h36m_fetch.py h36m-fetch --out data/h36m

reads h36m-fetch/processed/S*/*/annot.h5 and h36m-fetch/metadata.xml, and writes
annotation_body3d/h36m_fetch/h36m_{train,test}.npz, annotation_body3d/cameras.pkl (unless it
exists) and links to the images under --out. h36m-fetch keeps the frames in which the person moves,
and every 64th frame of the test subjects, so its number of frames differs from that of files with
10 frames per second.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmjrr.datasets.converters.command_line import (
    add_arguments,
    add_subjects,
    convert_and_report,
    make_conversion,
    run,
)
from mmjrr.datasets.image_names import SPLITS


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help="h36m-fetch's folder, or its subfolder processed")
    add_arguments(parser)
    add_subjects(parser)
    parser.add_argument(
        '--no-images', action='store_true', help='write only annotations, no links to images'
    )
    args = parser.parse_args()

    from mmjrr.datasets.converters.h36m_fetch import find_h36m_fetch, read_h36m_fetch
    from mmjrr.datasets.converters.metadata import read_metadata

    root = args.root.resolve()
    root = root.parent if root.name == 'processed' else root
    if args.metadata is None and args.cameras is None and (root / 'metadata.xml').is_file():
        args.metadata = root / 'metadata.xml'
    takes = read_metadata(args.metadata or root / 'metadata.xml').takes
    for split, members in SPLITS.items():
        subjects = [subject for subject in members if subject in args.subjects]
        if not subjects:
            continue
        files = find_h36m_fetch(root, subjects)
        convert = make_conversion(
            args,
            ann_file=f'annotation_body3d/h36m_fetch/h36m_{split}.npz',
            fits_file=f'fits/h36m_fetch_{split}.npz',
            image_root=None if args.no_images else root,
        )
        convert_and_report(convert, read_h36m_fetch(files, takes, root, args.on_error))


if __name__ == '__main__':
    sys.exit(run(main))
