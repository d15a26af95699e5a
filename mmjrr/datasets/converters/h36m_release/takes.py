"""Takes of the release, as its metadata names them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mmjrr.datasets.converters.metadata import Metadata
from mmjrr.errors import DataError

#: The action that contains all others.
_ALL = '1'


@dataclass(frozen=True)
class Take:
    """Take of one subject, seen by one camera."""

    subject: str  # 'S1'
    name: str  # 'Directions 1'
    camera: str  # '54138969'

    @property
    def file(self) -> str:
        """Name of the take's files in the release, without suffix."""
        return f'{self.name}.{self.camera}'

    @property
    def stem(self) -> str:
        """Beginning of image names, such as ``S1_Directions_1.54138969``."""
        return f'{self.subject}_{self.name.replace(" ", "_")}.{self.camera}'

    def imgname(self, index: int) -> str:
        """Return MMPose's image name of a frame (from 0); names count from 1."""
        return f'{self.subject}/{self.stem}/{self.stem}_{index + 1:06d}.jpg'


def takes_of(metadata: Metadata, subjects: Iterable[str]) -> list[Take]:
    """List the takes in MMPose's order: by subject, action, subaction and camera.

    The action that contains all others is skipped.

    Raises:
        DataError: A name cannot be part of a file name.
    """
    cameras = list(dict.fromkeys(camera for _, camera in metadata.cameras))
    takes = []
    for subject in subjects:
        for (owner, action, _), name in metadata.takes.items():
            if owner != subject or action == _ALL:
                continue
            for camera in cameras:
                if not re.fullmatch(r'[A-Za-z][A-Za-z0-9 _]*', name) or not camera.isalnum():
                    raise DataError(
                        f'metadata: found take {name!r}, camera {camera!r}, expected file names'
                    )
                takes.append(Take(subject, name, camera))
    return takes
