"""Find a person's 2D joints and masks in the images of folders, with mediapipe's pose model.

    python tools/dataset_converters/pose2sim_detections.py FRAMES OUT

Runs in an environment of its own, which requirements/mediapipe.txt describes, since mediapipe needs
other versions of packages than mmjrr; it imports nothing of mmjrr. For each folder of images below
FRAMES it writes an npz to OUT, named after the folder:

- ``joints`` (T, 33, 3) float32: x and y in pixels (the pixel in row 0, column 0 covers [0, 1)),
  and visibility from 0 to 1; NaN where no person was found
- ``names`` (33,): names of the joints, such as 'left_shoulder'
- ``masks`` (T, h, w) uint8: probability of the person, 255 for 1

A folder that has its npz is not processed again.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('frames', type=Path, help='folder whose subfolders hold JPEG images')
    parser.add_argument('out', type=Path, help='folder to write')
    args = parser.parse_args()
    folders = sorted({path.parent for path in args.frames.rglob('*.jpg')})
    if not folders:
        parser.error(f'{args.frames}: found no JPEG images')
    args.out.mkdir(parents=True, exist_ok=True)
    for number, folder in enumerate(folders, start=1):
        path = args.out / f'{folder.name}.npz'
        if not path.is_file():
            print(f'{folder.name}: masks and joints, {number} of {len(folders)}', flush=True)
            _write(path, detect(sorted(folder.glob('*.jpg'))))
    return 0


def detect(images: list[Path]) -> dict[str, Any]:
    """Return the arrays of a folder's npz.

    Raises:
        OSError: An image cannot be read, or has another size than the first.
    """
    import cv2
    import mediapipe
    import numpy as np

    pose = mediapipe.solutions.pose
    names = [landmark.name.lower() for landmark in pose.PoseLandmark]
    joints = np.full((len(images), len(names), 3), np.nan, np.float32)
    masks: Any = None
    # Each image is processed by itself, so that the result does not depend on those before it.
    with pose.Pose(
        static_image_mode=True,
        model_complexity=1,
        enable_segmentation=True,
        min_detection_confidence=0.3,
    ) as model:
        for number, path in enumerate(images):
            image = cv2.imread(str(path))
            if image is None or (masks is not None and image.shape[:2] != masks.shape[1:]):
                raise OSError(f'{path}: not a readable image of the size of the first one')
            height, width = image.shape[:2]
            if masks is None:
                masks = np.zeros((len(images), height, width), np.uint8)
            output = model.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            if output.pose_landmarks is None:
                continue
            joints[number] = [
                (point.x * width, point.y * height, point.visibility)
                for point in output.pose_landmarks.landmark
            ]
            masks[number] = np.rint(255 * np.clip(output.segmentation_mask, 0, 1))
    return dict(joints=joints, names=np.array(names), masks=masks)


def _write(path: Path, arrays: dict[str, Any]) -> None:
    """Write the file whole or not at all."""
    import numpy as np

    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    with open(temporary, 'wb') as file:
        np.savez_compressed(file, **arrays)
    os.replace(temporary, path)


if __name__ == '__main__':
    sys.exit(main())
