"""Conversion of MMPose's four test frames of Human3.6M into MMPose's own layout.

The source, MMPose's ``tests/data/h36m``, has ``test_h36m_body3d.npz`` (2D and 3D joints),
``test_h36m.npz`` (MoSh pose and shape), ``cameras.pkl``, the images, and ``BF_IUV_gt`` (rendered
part maps). The result::

    images/S1/...                                  the images
    annotation_body3d/fps10/h36m_train.npz         joints and boxes
    annotation_body3d/cameras.pkl                  unchanged
    masks/h36m_train.json                          foreground of the part maps
    fits/mosh_train.npz                            MoSh pose, translation fitted to the 2D joints

A part map has the size of its image (the numbers in its name are the center of the box), but its
outline is 4 to 12 pixels off the person, differently in each frame (docs/real_frames.md). ``pose``
is in the camera frame: limbs posed by it point 5 to 8 degrees off those of the 3D joints; rotated
by the camera as a world orientation they would be 55 to 130 degrees off. ``shape`` belongs to SMPL;
on another body (the free body, by default) it is meaningless and the mean shape is written instead.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from mmjrr.array_types import Array
from mmjrr.body_models import SMPL, free_body
from mmjrr.datasets.converters.camera_frame import LIMBS
from mmjrr.datasets.fits import save_fits
from mmjrr.datasets.image_names import image_key, parse_image_name
from mmjrr.datasets.masks import save_masks
from mmjrr.errors import DataError
from mmjrr.geometry import PerspectiveCamera, fit_translation, load_cameras
from mmjrr.io import atomic_write, read_npz
from mmjrr.io.paths import check_inside
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_JOINTS


def convert_test_frames(source: Path, target: Path, body: SMPL | None = None) -> dict[str, Array]:
    """Convert MMPose's test frames.

    Args:
        source: MMPose's ``tests/data/h36m``.
        target: Folder of the dataset.
        body: SMPL body to which MoSh's shapes belong. Default: None, the free body with its mean
            shape.

    Returns:
        ``pose`` (N, 72), ``betas`` (N, 10) and ``transl`` (N, 3) of the fits.

    Raises:
        FileNotFoundError: A file of the source is missing.
        DataError: The files do not fit together, or a name leads outside their folder.
    """
    annotations = read_npz(source / 'test_h36m_body3d.npz')
    mosh = read_npz(source / 'test_h36m.npz')
    names = annotations['imgname'].tolist()
    check_inside(f'{source / "test_h36m_body3d.npz"}: imgname', names)
    check_inside(f'{source / "test_h36m.npz"}: iuv_names', mosh['iuv_names'].tolist())
    row = {image_key(name): index for index, name in enumerate(mosh['imgname'].tolist())}
    missing = [name for name in names if image_key(name) not in row]
    if missing:
        raise DataError(f'{source / "test_h36m.npz"}: imgname: {missing} missing')
    rows = [row[image_key(name)] for name in names]

    for name in names:
        destination = target / 'images' / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, destination)
    with atomic_write(target / 'annotation_body3d' / 'cameras.pkl') as temporary:
        shutil.copyfile(source / 'cameras.pkl', temporary)
    with atomic_write(target / 'annotation_body3d/fps10/h36m_train.npz') as temporary:
        fields = {name: annotations[name] for name in ('imgname', 'center', 'scale', 'part', 'S')}
        np.savez(temporary, **fields)
    masks = {
        name: _foreground(source / 'BF_IUV_gt' / str(mosh['iuv_names'][index]))
        for name, index in zip(names, rows, strict=True)
    }
    save_masks(target / 'masks/h36m_train.json', masks, info={'description': 'part maps > 0'})

    pose = mosh['pose'][rows].astype(np.float32)
    betas = mosh['shape'][rows].astype(np.float32)
    if body is None:
        body, betas = free_body(), np.zeros_like(betas)
    transl = _translation(body, pose, betas, annotations, source / 'cameras.pkl')
    fits = dict(pose=pose, betas=betas, transl=transl)
    save_fits(
        target / 'fits/mosh_train.npz',
        imgname=np.array(names),
        center=annotations['center'],
        scale=annotations['scale'],
        provenance={'source': 'MoSh pose of test_h36m.npz; translation fitted to the 2D joints'},
        **fits,
    )
    return fits


def _foreground(path: Path) -> Array:  # (h, w) bool
    """Read the foreground of a part map."""
    import cv2

    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such part map')
    image = cv2.imread(str(path))
    if image is None:
        raise DataError(f'{path}: not a readable image')
    return image.any(-1)


def _translation(
    body: SMPL,
    pose: Array,  # (N, 72)
    betas: Array,  # (N, 10)
    annotations: dict[str, Array],
    camera_file: Path,
) -> Array:  # (N, 3), meters
    """Fit the translations that bring the skeleton's limb joints onto the 2D joints."""
    cameras = load_cameras(camera_file)
    parsed = [parse_image_name(name) for name in annotations['imgname'].tolist()]
    frame_cameras = [cameras[name.subject, name.camera] for name in parsed]
    with torch.no_grad():
        joints = body(
            global_orient=torch.from_numpy(pose[:, :3]),
            body_pose=torch.from_numpy(pose[:, 3:]),
            betas=torch.from_numpy(betas),
            transl=torch.zeros(len(pose), 3),
        ).joints
    part = torch.from_numpy(annotations['part'][:, [H36M_JOINTS_MMPOSE.index(j) for j in LIMBS]])
    return fit_translation(
        joints[:, [SMPL_JOINTS.index(joint) for joint in LIMBS]].double(),
        part[..., :2].double(),
        part[..., 2].double(),
        PerspectiveCamera.cat(frame_cameras),
    ).numpy()
