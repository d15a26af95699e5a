"""Convert SPIN's npz files of Human3.6M into MMPose's layout.

    python tools/dataset_converters/spin_npz.py h36m_train.npz --out data/h36m \\
        --metadata metadata.xml --body-model data/smpl
    python tools/dataset_converters/spin_npz.py h36m_valid_protocol1.npz --out data/h36m

writes annotation_body3d/spin/<name>.npz and, if the file has SMPL parameters,
fits/spin_<name>.npz under --out. SPIN stores 3D joints relative to the pelvis. For its training
file, the converter uses the cameras and the 2D joints to bring them into the camera frame. Its
validation files have no 2D joints and serve evaluation only. --image-root links the images too.
SPIN's own script extracts each image one video frame late (20 ms).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mmjrr.datasets.converters.command_line import convert_files, run

if TYPE_CHECKING:
    from mmjrr.datasets.converters.source import Source


def read(path: Path) -> Source:
    from mmjrr.datasets.converters.spin import read_spin

    return read_spin(path)


if __name__ == '__main__':
    sys.exit(run(lambda: convert_files(__doc__, "npz files of SPIN's layout", 'spin', read)))
