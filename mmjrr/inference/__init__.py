"""Inference of meshes from images, folders and videos, in the manner of MMPose's inferencers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmjrr.lazy_names import lazy_names

if TYPE_CHECKING:
    from .mesh_inferencer import MeshInferencer
    from .person_detector import PersonDetector

__all__ = ['MeshInferencer', 'PersonDetector']

__getattr__, __dir__ = lazy_names(__name__)
