"""Convert MMHuman3D's HumanData npz files of Human3.6M into MMPose's layout.

    python tools/dataset_converters/human_data.py h36m_mosh_train.npz --out data/h36m \\
        --body-model data/smpl

writes annotation_body3d/human_data/<name>.npz, fits/human_data_<name>.npz if the file has SMPL
parameters, and annotation_body3d/cameras.pkl unless it exists. HumanData stores 3D joints relative
to the pelvis; the converter uses the 2D joints to bring them into the camera frame. --image-root
links the images too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mmjrr.datasets.converters.command_line import convert_files, run

if TYPE_CHECKING:
    from mmjrr.datasets.converters.source import Source


def read(path: Path) -> Source:
    from mmjrr.datasets.converters.human_data import read_human_data

    return read_human_data(path)


if __name__ == '__main__':
    sys.exit(run(lambda: convert_files(__doc__, 'HumanData files', 'human_data', read)))
