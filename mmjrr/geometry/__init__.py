"""Rotations, cameras, weak perspective and translations."""

from mmjrr.geometry.boxes import PIXELS_PER_SCALE, padded_box, square_box, whole_image_box
from mmjrr.geometry.camera_files import (
    CameraParameters,
    camera_parameters,
    first_difference,
    load_cameras,
    save_cameras,
)
from mmjrr.geometry.cameras import PerspectiveCamera
from mmjrr.geometry.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
)
from mmjrr.geometry.translation import fit_translation
from mmjrr.geometry.weak_perspective import (
    crop_weak_perspective_to_transl,
    transl_to_crop_weak_perspective,
    transl_to_weak_perspective,
    weak_perspective_to_transl,
)

__all__ = [
    'PIXELS_PER_SCALE',
    'CameraParameters',
    'PerspectiveCamera',
    'axis_angle_to_matrix',
    'camera_parameters',
    'crop_weak_perspective_to_transl',
    'first_difference',
    'fit_translation',
    'load_cameras',
    'matrix_to_axis_angle',
    'matrix_to_quaternion',
    'matrix_to_rotation_6d',
    'padded_box',
    'rotation_6d_to_matrix',
    'save_cameras',
    'square_box',
    'transl_to_crop_weak_perspective',
    'transl_to_weak_perspective',
    'weak_perspective_to_transl',
    'whole_image_box',
]
