#!/usr/bin/env python
"""Convert MMPose's four Human3.6M test frames into the layout that mmjrr reads.

python tools/dataset_converters/h36m_mini.py SRC DST
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmjrr.datasets.converters.command_line import run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', type=Path, help="MMPose's tests/data/h36m")
    parser.add_argument('target', type=Path, help='data root to write')
    parser.add_argument('--body-model', help='SMPL file; with it, the MoSh shapes are kept')
    args = parser.parse_args()

    from mmjrr.body_models import SMPL
    from mmjrr.datasets.converters.mmpose_test_frames import convert_test_frames

    body = SMPL(args.body_model) if args.body_model else None
    fits = convert_test_frames(args.source, args.target, body)
    print(f'{args.target}: {len(fits["pose"])} frames')


if __name__ == '__main__':
    sys.exit(run(main))
