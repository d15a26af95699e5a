"""Bodies in the world, compared with the masks of all cameras, also of those left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import Array
from mmjrr.body_models import free_body
from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.fits import load_fits
from mmjrr.datasets.image_names import image_key, parse_image_name
from mmjrr.errors import DataError
from mmjrr.geometry import PerspectiveCamera
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.regressors import JointRegressor
from mmjrr.rendering import ContourSilhouette

_SIZE = (224, 224)
_PICTURE = (448, 448)

#: Vertices (V, 3) in meters in the world, by frame number of the moment.
Bodies = dict[int, Tensor]


class SharedViews:
    """Synchronized views of one person in MMPose's layout, and bodies of the free body in them.

    Args:
        data_root: Folder of the data set.
        ann_file: Annotation file in it.
        mask_file: Mask file in it.
        regressor: Regressor of the limbs' ends. Default: the free body's own.
    """

    def __init__(
        self,
        data_root: str | Path,
        ann_file: str,
        mask_file: str,
        regressor: str = 'free_body_h36m',
    ) -> None:
        self.dataset = H36MFitsDataset(
            data_root=str(data_root), ann_file=ann_file, mask_file=mask_file, load_mask=True
        )
        # Frames whose trunk these views do not show have no 3D joints here.
        self.labeled = H36MFitsDataset(
            data_root=str(data_root), ann_file=ann_file, triangulate=True
        )
        self.body = free_body()
        self.regressor = JointRegressor.load(regressor).reorder(H36M_JOINTS_MMPOSE)
        self.renderer = ContourSilhouette(faces=self.body.faces, image_size=_SIZE)
        names = [parse_image_name(self.dataset.imgname(i)) for i in range(len(self.dataset))]
        #: Index of a sample by camera and frame number.
        self.index = {(name.camera, name.frame): i for i, name in enumerate(names)}
        self.cameras = sorted({name.camera for name in names})

    def bodies(self, fits_file: str | Path) -> Bodies:
        """Return the body of each moment in the world, from its first camera's fit.

        Raises:
            DataError: An image of the fits is not in the data set.
        """
        fits = load_fits(fits_file)
        samples = {image_key(self.dataset.imgname(i)): i for i in range(len(self.dataset))}
        bodies: Bodies = {}
        for row, imgname in enumerate(fits['imgname'].tolist()):
            frame = parse_image_name(imgname).frame
            if frame in bodies:
                continue
            if image_key(imgname) not in samples:
                raise DataError(f'{fits_file}: {imgname} is not in {self.dataset.ann_file}')
            camera = self._camera(samples[image_key(imgname)])
            pose = torch.from_numpy(fits['pose'][row : row + 1])
            with torch.no_grad():
                vertices = self.body(
                    global_orient=pose[:, :3],
                    body_pose=pose[:, 3:],
                    betas=torch.from_numpy(fits['betas'][row : row + 1]),
                    transl=torch.from_numpy(fits['transl'][row : row + 1]),
                ).vertices[0]
            assert camera.rotation is not None and camera.position is not None
            bodies[frame] = vertices @ camera.rotation[0] + camera.position[0]
        return bodies

    def iou(self, bodies: Bodies, camera: str, frame: int) -> float | None:
        """Return the IoU of silhouette and mask on the crop of the mask; None without the frame."""
        index = self.index.get((camera, frame))
        if index is None or frame not in bodies:
            return None
        mask = self.dataset[index]['inputs']['mask'].numpy() >= 0.5
        silhouette = self._silhouette(bodies[frame], index, _SIZE) >= 0.5
        union = int((mask | silhouette).sum())
        return int((mask & silhouette).sum()) / union if union else 1.0

    def mean_iou(self, bodies: Bodies, camera: str) -> float:
        """Return the mean IoU of a camera over moments."""
        values = [self.iou(bodies, camera, frame) for frame in sorted(bodies)]
        return float(np.mean([value for value in values if value is not None]))

    def limb_lengths(self, bodies: Bodies, start: str, end: str) -> tuple[float, float]:
        """Return mean and standard deviation over moments of a limb of the bodies, mm."""
        rows = [H36M_JOINTS_MMPOSE.index(name) for name in (start, end)]
        joints = self.regressor(torch.stack([bodies[frame] for frame in sorted(bodies)]))
        return _mean_and_std(torch.linalg.norm(joints[:, rows[0]] - joints[:, rows[1]], dim=-1))

    def triangulated_lengths(self, start: str, end: str) -> tuple[float, float]:
        """Return mean and standard deviation over moments of a triangulated limb, mm."""
        rows = [H36M_JOINTS_MMPOSE.index(name) for name in (start, end)]
        lengths = {}
        for index in range(len(self.labeled)):
            joints = self.labeled.labeled_joints([index])[0][rows]
            frame = parse_image_name(self.labeled.imgname(index)).frame
            if (joints[:, 3] > 0).all():
                lengths[frame] = float(np.linalg.norm(joints[0, :3] - joints[1, :3]))
        return _mean_and_std(torch.tensor([lengths[frame] for frame in sorted(lengths)]))

    def reprojection_errors(self) -> dict[str, float]:
        """Return the mean distance of 2D joints from projected triangulated ones, pixels."""
        errors = self.labeled.check_projection()
        return {name.split()[-1]: round(error['mean_px'], 2) for name, error in errors.items()}

    def draw(self, bodies: Bodies, frame: int, path: Path) -> None:
        """Draw a moment's body over the images of all cameras, side by side.

        Raises:
            FileNotFoundError: An image is missing.
        """
        import cv2

        from mmjrr.io import atomic_write
        from mmjrr.visualization.crops import crop_photo
        from mmjrr.visualization.overlay import draw_fit

        pictures = []
        for camera in self.cameras:
            index = self.index.get((camera, frame))
            if index is None:
                pictures.append(np.zeros((*_PICTURE, 3), np.uint8))
                continue
            info = self.dataset.get_data_info(index)
            photo = crop_photo(Path(info['img_path']), info['box'], _PICTURE[0])
            if photo is None:
                raise FileNotFoundError(f'{info["img_path"]}: not a readable image')
            mask = self.dataset[index]['inputs']['mask'].numpy()
            mask = cv2.resize(mask, _PICTURE[::-1], interpolation=cv2.INTER_LINEAR)
            overlap = self.iou(bodies, camera, frame)
            pictures.append(
                draw_fit(
                    photo, self._silhouette(bodies[frame], index, _PICTURE), mask,
                    title=f'camera {camera}, IoU {overlap:.2f}',
                )
            )  # fmt: skip
        whole = cv2.cvtColor(np.hstack(pictures), cv2.COLOR_RGB2BGR)
        with atomic_write(path) as temporary:
            temporary.write_bytes(cv2.imencode('.jpg', whole)[1].tobytes())

    def _camera(self, index: int) -> PerspectiveCamera:
        """Return the camera of a sample's full image, float32."""
        name = parse_image_name(self.dataset.imgname(index))
        return self.dataset.cameras[name.subject, name.camera].to(torch.float32)

    def _silhouette(self, vertices: Tensor, index: int, size: tuple[int, int]) -> Array:
        """Return the coverage (h, w) of a body in the world on a sample's crop."""
        camera = self._camera(index)
        self.renderer.image_size = size
        with torch.no_grad():
            local = camera.world_to_camera(vertices[None])
            box = self.dataset.get_data_info(index)['box']
            coverage: Array = self.renderer(local, camera.crop(box, size))[0].numpy()
        return coverage


def _mean_and_std(meters: Tensor) -> tuple[float, float]:
    values = 1000 * meters.double().detach().numpy()
    return round(float(values.mean()), 1), round(float(values.std()), 1)
