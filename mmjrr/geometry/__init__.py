"""Rotations, perspective and weak-perspective cameras, camera files, boxes and translations.

Convention: meters and pixels; the camera frame has x right, y down, z forward.
"""

from mmjrr.geometry.boxes import (
    MAX_PIXEL,
    PIXELS_PER_SCALE,
    padded_box,
    square_box,
    whole_image_box,
)
from mmjrr.geometry.camera_files import (
    H36M_IMAGE_SIZES,
    MAX_DISTANCE,
    camera_from_fields,
    camera_to_fields,
    first_camera_difference,
    load_cameras,
    save_cameras,
)
from mmjrr.geometry.cameras import CAMERA_PARAMETERS, PerspectiveCamera
from mmjrr.geometry.projection_check import SIDE_SWAPS, ProjectionErrors, projection_errors
from mmjrr.geometry.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
)
from mmjrr.geometry.translation import fit_translation
from mmjrr.geometry.triangulation import TriangulatedPoints, triangulate
from mmjrr.geometry.weak_perspective import (
    SPIN_FOCAL_LENGTH,
    SPIN_IMAGE_SIZE,
    crop_weak_perspective_to_transl,
    transl_to_crop_weak_perspective,
    transl_to_weak_perspective,
    weak_perspective_to_transl,
)

__all__ = [
    'CAMERA_PARAMETERS',
    'H36M_IMAGE_SIZES',
    'MAX_DISTANCE',
    'MAX_PIXEL',
    'PIXELS_PER_SCALE',
    'SIDE_SWAPS',
    'SPIN_FOCAL_LENGTH',
    'SPIN_IMAGE_SIZE',
    'PerspectiveCamera',
    'ProjectionErrors',
    'TriangulatedPoints',
    'axis_angle_to_matrix',
    'camera_from_fields',
    'camera_to_fields',
    'crop_weak_perspective_to_transl',
    'first_camera_difference',
    'fit_translation',
    'load_cameras',
    'matrix_to_axis_angle',
    'matrix_to_quaternion',
    'matrix_to_rotation_6d',
    'padded_box',
    'projection_errors',
    'rotation_6d_to_matrix',
    'save_cameras',
    'square_box',
    'transl_to_crop_weak_perspective',
    'transl_to_weak_perspective',
    'triangulate',
    'weak_perspective_to_transl',
    'whole_image_box',
]
