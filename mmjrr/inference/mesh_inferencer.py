"""Inferencer of SMPL bodies from images, folders and videos, used as MMPose's inferencers are."""

from __future__ import annotations

import logging
import os.path as osp
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.infer import BaseInferencer
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement, InstanceData
from torch import nn

from mmjrr.array_types import Array
from mmjrr.datasets.fits import save_fits
from mmjrr.datasets.image_folder import mark_pictures
from mmjrr.datasets.transforms import build_pipeline
from mmjrr.downloads import FILES
from mmjrr.errors import DataError
from mmjrr.evaluation.evaluate_predictions import body_config
from mmjrr.geometry import PIXELS_PER_SCALE, whole_image_box
from mmjrr.io import atomic_write, sha256, versions
from mmjrr.models.estimators.released_weights import load_weights
from mmjrr.models.mesh_inference import estimate_of
from mmjrr.registry import BODY_MODELS, INFERENCERS, MODELS
from mmjrr.visualization.mesh_overlay import draw_bodies

from .input_images import InputImage, InputImages, picture_path, video_path
from .known_files import find_named, find_weights, located
from .person_boxes import boxes_of, check_boxes, square_around
from .person_detector import PersonDetector, check_thresholds
from .surroundings import check_device, check_display
from .video import VideoWriter

_BOX_COLOR = (60, 220, 60)

#: A batch: what the model takes (None without persons), and the images.
Batch = tuple[dict[str, Any] | None, list[InputImage]]


@INFERENCERS.register_module(name=['MeshInferencer', 'mesh-estimation'])
class MeshInferencer(BaseInferencer):
    """Inferencer of the SMPL bodies of all persons in images, folders and videos.

    It is called as MMPose's inferencers are, and returns a generator of one result per image::

        inferencer = MeshInferencer('spin')
        for result in inferencer('folder', out_dir='output'):
            persons = result['predictions'][0]

    A result is a dict. ``predictions`` is a list of one image's persons, a list of dicts:
    ``bbox`` (x0, y0, x1, y1) in pixels and ``bbox_score``; ``global_orient`` (3,) and ``body_pose``
    (69,), axis-angle in the camera's frame; ``betas`` (10,); ``camera``, SPIN's (s, tx, ty) on the
    crop; and ``crop``, the square x0, y0, x1, y1 that the model saw. With
    ``return_datasamples=True`` it is a list of one data sample, whose ``pred_instances`` has
    ``bboxes``, ``bbox_scores``, ``crops`` and the other fields as tensors, and ``vertices``
    (N, V, 3) in meters if there is a body. ``visualization`` is a list of the picture, (h, w, 3)
    uint8 RGB, with ``return_vis=True``, and empty without.

    Every image is estimated by itself. VIBE and MEVA see each as a sequence of length one.

    Args:
        model: ``'spin'``, ``'vibe'`` or ``'meva'``; the name of another model in the package's
            metafiles; a config file; or a config. Default: ``'spin'``.
        weights: File of the weights. Default: None, the config's file, or the released weights in
            a folder of downloads.
        device: Device of the models. Default: None, MMEngine's choice.
        scope: Scope of names of models in metafiles. Default: ``'mmjrr'``.
        det_model: mmdet's detector, as :class:`~mmjrr.inference.PersonDetector` takes it, or
            ``'whole_image'`` for images that show one person each. Default: None, Mask R-CNN, which
            is built when a call has no ``bboxes``.
        det_weights: File of the detector's weights. Default: None, the published file in a folder
            of downloads.
        det_cat_ids: Indices of the detector's classes to keep. Default: None, the class person.
        body_model: Body for pictures and vertices: a SMPL file or folder, ``'free_body'``, or a
            config. Default: None, SMPL in a folder of downloads if it is there.
        show_progress: Whether to show a bar of progress. Default: False.

    Raises:
        ImportError: mmdet is needed and not installed.
        FileNotFoundError: A file is missing; the message says where to get it.
        DataError: A file is damaged or does not fit the model.
        ValueError: An argument is wrong.
    """

    preprocess_kwargs: set[str] = {
        'bboxes', 'bbox_thr', 'nms_thr', 'bbox_padding', 'skip_unreadable',
    }  # fmt: skip
    forward_kwargs: set[str] = set()
    visualize_kwargs: set[str] = {
        'return_vis', 'show', 'wait_time', 'draw_bbox', 'opacity', 'black_background',
        'vis_out_dir',
    }  # fmt: skip
    postprocess_kwargs: set[str] = {'pred_out_dir'}

    def __init__(
        self,
        model: str | dict[str, Any] | Config = 'spin',
        weights: str | Path | None = None,
        device: str | None = None,
        scope: str = 'mmjrr',
        det_model: str | dict[str, Any] | None = None,
        det_weights: str | Path | None = None,
        det_cat_ids: int | Sequence[int] | None = None,
        body_model: str | Path | dict[str, Any] | None = None,
        show_progress: bool = False,
    ) -> None:
        if model is None:  # MMEngine would run the config that a checkpoint contains
            raise ValueError('model: found None, expected a name, a config file or a config')
        check_device(device)
        self.weights = Path()  # found in _init_model
        super().__init__(
            str(model) if isinstance(model, Path) else model,
            None if weights is None else str(weights),
            device,
            scope,
            show_progress,
        )
        self._has_own_body = self.cfg.model.get('body_model') is not None
        if self._has_own_body and body_model is not None:
            raise ValueError(
                f'body_model: found {body_model!r:.80}, expected None, since the model has a body'
            )
        self.body = self.model.body_model if self._has_own_body else self._build_body(body_model)
        self.whole_image = det_model in ('whole_image', 'whole-image')
        self._detector: PersonDetector | None = None
        self._detector_settings = (det_model, det_weights, det_cat_ids, device)
        if det_model is not None and not self.whole_image:
            self._detector = PersonDetector(*self._detector_settings)
        elif self.whole_image:
            for name, value in dict(det_weights=det_weights, det_cat_ids=det_cat_ids).items():
                if value is not None:
                    raise ValueError(f'{name}: found {value!r}, expected None without a detector')

    # -- what MMEngine's constructor calls -------------------------------------------------------

    def _load_model_from_metafile(self, model: str) -> tuple[Config, None]:
        """Return the config of a name or alias in the scope's metafiles."""
        if model.endswith(('.py', '.yml', '.yaml', '.json')):
            raise FileNotFoundError(f'model: {model}: no such config')
        folder = self._get_repo_or_mim_dir(self.scope)
        shown: list[str] = []
        for entry in self._get_models_from_metafile(folder):
            aliases = entry.get('Alias') or []
            aliases = [aliases] if isinstance(aliases, str) else aliases
            names = [entry['Name'], *aliases]
            if model.lower() in [name.lower() for name in names]:
                return Config.fromfile(osp.join(folder, entry['Config'])), None
            shown += aliases
        raise ValueError(
            f'model: found {model!r}, expected a config file or a name such as {", ".join(shown)}'
        )

    def _init_model(self, cfg: Config, weights: str | None, device: str = 'cpu') -> nn.Module:
        """Build the model and load its weights, without running code from their file."""
        if 'model' not in cfg or cfg.get('test_dataloader', {}).get('dataset') is None:
            raise ValueError(
                'model: expected a config with model and test_dataloader.dataset.pipeline'
            )
        self.weights = find_weights(cfg, weights)
        for name in ('pretrained_features', 'mean_params'):
            path = cfg.model.get(name)
            if path is not None:
                cfg.model[name] = find_named(path)
        cfg.model.pop('checkpoint', None)
        with _scope_of(cfg):
            model = MODELS.build(cfg.model)
        load_weights(model, self.weights)
        return model.to(device).eval()

    def _init_pipeline(self, cfg: Config) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """Return the transforms of the config's dataset, but for the one that reads the image."""
        steps = cfg.test_dataloader.dataset.get('pipeline')
        if not steps:
            raise ValueError('test_dataloader.dataset.pipeline: found none, expected transforms')
        steps = [step for step in steps if not step['type'].split('.')[-1].startswith('LoadImage')]
        with _scope_of(cfg):
            transforms = build_pipeline(steps)

        def pipeline(sample: dict[str, Any]) -> dict[str, Any]:
            for transform in transforms:
                sample = transform(sample)
            return sample

        return pipeline

    def _init_collate(self, cfg: Config) -> Callable[..., Any]:
        """Return the function that makes a batch of samples."""
        return pseudo_collate

    def _init_visualizer(self, cfg: Config) -> None:
        """Return None: pictures are drawn by this package's renderer."""

    def _build_body(self, body_model: str | Path | dict[str, Any] | None) -> Any:
        if body_model is None:
            path = located(f'data/{FILES["smpl"].path}')
            if path is None:
                return None
            body_model = path
        with _scope_of(self.cfg):
            body = BODY_MODELS.build(body_config(body_model, {}))
        return body.to(next(self.model.parameters()).device).requires_grad_(False)

    # -- a call ----------------------------------------------------------------------------------

    def __call__(
        self,
        inputs: Any,
        return_datasamples: bool = False,
        batch_size: int = 1,
        out_dir: str | Path | None = None,
        **kwargs: Any,
    ) -> Iterator[dict[str, Any]]:
        """Check the arguments, and return a generator of one result per image.

        Files of results are complete when the generator ends.

        Args:
            inputs: Path of an image, video or folder (with its subfolders, but for hidden ones and
                those of pictures that an earlier call made); an image as an array (h, w, 3) uint8
                BGR, as OpenCV reads it; or a list of paths of images and arrays.
            return_datasamples: Whether predictions are data samples. Default: False.
            batch_size: Number of images whose persons are estimated at once. Default: 1.
            out_dir: Folder for pictures, in ``visualizations``, and predictions, in
                ``predictions``. Default: None.
            kwargs: Further arguments:

                - ``bboxes``: Boxes x0, y0, x1, y1 in pixels: for each image one box or a list of
                  boxes, in the order of the images or by image name. Default: None, the detector's.
                - ``bbox_thr``, ``nms_thr``: Thresholds of the detector, 0 to 1. Defaults: 0.3.
                - ``bbox_padding``: Factor on the longer side of a box, which gives the side of the
                  square crop. Default: 1.2, SPIN's; whole images are not padded, and take none.
                - ``skip_unreadable``: Whether damaged images are left out, with a warning.
                  Default: False.
                - ``return_vis``, ``show``: Whether to return pictures, to show them in a window,
                  which needs a display.
                - ``wait_time``: Seconds to show a picture. Default: 0, until a key is pressed.
                - ``draw_bbox``, ``black_background``: Whether to draw boxes, to leave out the
                  image. Defaults: False.
                - ``opacity``: Opacity of the drawn bodies. Default: 0.9.
                - ``vis_out_dir``: Folder for pictures; a video becomes a video.
                - ``pred_out_dir``: Folder for the predictions, one npz file per call in SPIN's
                  layout, which ``mmjrr evaluate`` reads. It is named after the input.

        Raises:
            FileNotFoundError: An input or the body of pictures does not exist.
            DataError: An input is damaged.
            ValueError: An argument is wrong.
        """
        if out_dir is not None:
            kwargs.setdefault('vis_out_dir', str(Path(out_dir) / 'visualizations'))
            kwargs.setdefault('pred_out_dir', str(Path(out_dir) / 'predictions'))
        before, _, drawing, after = self._dispatch_kwargs(**kwargs)
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f'batch_size: found {batch_size!r}, expected at least 1')
        images = inputs if isinstance(inputs, InputImages) else InputImages(inputs)
        self._check_box_settings(before)
        if before.get('bboxes') is not None:
            before['bboxes'] = check_boxes(before['bboxes'], images.names)
        if drawing.get('show'):
            check_display()
        is_drawing = any(drawing.get(name) for name in ('return_vis', 'show', 'vis_out_dir'))
        if is_drawing and self.body is None:
            item = FILES['smpl']
            raise FileNotFoundError(
                f'pictures need the body: give body_model=..., or get {item.file} from '
                f'{item.page} and put it at $MMJRR_HOME/{item.path}; predictions alone, with '
                'pred_out_dir=..., do not need it'
            )
        for name in ('vis_out_dir', 'pred_out_dir'):
            folder = {**drawing, **after}.get(name)
            if folder and Path(folder).suffix in ('.jpg', '.png', '.mp4', '.npz', '.json'):
                raise ValueError(f'{name}: found {str(folder)!r}, expected a folder')
        if drawing.get('vis_out_dir'):
            images.check_pictures(Path(drawing['vis_out_dir']))
        if self._detects(before) and self._detector is None:
            self._detector = PersonDetector(*self._detector_settings)
        return self._results(images, batch_size, return_datasamples, before, drawing, after)

    def _detects(self, before: Mapping[str, Any]) -> bool:
        """Return whether a call with these arguments of :meth:`preprocess` needs the detector."""
        return before.get('bboxes') is None and not self.whole_image

    def _check_box_settings(self, before: Mapping[str, Any]) -> None:
        """Check the thresholds and the padding of boxes.

        Raises:
            ValueError: One is out of range, or has no effect.
        """
        thresholds = {name: before[name] for name in ('bbox_thr', 'nms_thr') if name in before}
        if not self._detects(before):
            for name, value in thresholds.items():
                raise ValueError(f'{name}: found {value!r}, expected none without a detector')
        check_thresholds(**thresholds)
        if 'bbox_padding' not in before:
            return
        padding = before['bbox_padding']
        if self.whole_image and before.get('bboxes') is None:
            raise ValueError(f'bbox_padding: found {padding!r}, expected none for whole images')
        if not 0 < padding < np.inf:
            raise ValueError(f'bbox_padding: found {padding!r}, expected a positive factor')

    def _results(
        self,
        images: InputImages,
        batch_size: int,
        return_datasamples: bool,
        before: dict[str, Any],
        drawing: dict[str, Any],
        after: dict[str, Any],
    ) -> Iterator[dict[str, Any]]:
        pred_out_dir = after.get('pred_out_dir')
        rows: list[dict[str, Any]] = []
        counts = dict(images=0, without_person=0, not_drawn=0)
        batches: Iterable[Batch] = self.preprocess(images, batch_size, **before)
        if self.show_progress:
            from rich.progress import track

            batches = track(batches, description='Inference')
        with ExitStack() as stack:
            writer = self._video_writer(images, drawing.get('vis_out_dir'), stack)
            if drawing.get('vis_out_dir') and writer is None:
                mark_pictures(Path(drawing['vis_out_dir']))
            for data, batch in batches:
                samples = self.forward(data, images=batch)
                pictures = self.visualize(batch, samples, counts=counts, writer=writer, **drawing)
                for number, (image, sample) in enumerate(zip(batch, samples, strict=True)):
                    counts['images'] += 1
                    counts['without_person'] += not len(sample.pred_instances)
                    if pred_out_dir:
                        rows += [dict(person, imgname=image.name) for person in _persons(sample)]
                    yield self.postprocess(
                        [sample], pictures[number : number + 1], return_datasamples
                    )
            if writer is not None:
                writer.close()
        self._report(images, counts)
        if pred_out_dir:
            detector = self._detector if self._detects(before) else None
            self._save(Path(pred_out_dir) / f'{images.name}.npz', rows, detector)

    def preprocess(
        self,
        inputs: InputImages,
        batch_size: int = 1,
        bboxes: Mapping[str, Array] | list[Array] | None = None,
        bbox_thr: float = 0.3,
        nms_thr: float = 0.3,
        bbox_padding: float = 1.2,
        skip_unreadable: bool = False,
    ) -> Iterator[Batch]:
        """Yield batches: the crops of all persons in ``batch_size`` images, and the images."""

        def warn(error: DataError) -> None:
            print_log(f'left out: {error}', logger='current', level=logging.WARNING)

        def with_persons() -> Iterator[InputImage]:
            for image in inputs.read(warn if skip_unreadable else None):
                if isinstance(bboxes, Mapping):
                    image.boxes = boxes_of(bboxes, image.name)
                elif bboxes is not None:
                    if image.index >= len(bboxes):  # a video, whose length was not known
                        raise ValueError(
                            f'bboxes: found boxes of {len(bboxes)} images, expected more: '
                            f'{image.name} has none'
                        )
                    image.boxes = bboxes[image.index]
                elif self.whole_image:
                    height, width = image.image.shape[:2]
                    image.boxes = np.array([[0.0, 0.0, width, height]])
                    image.crops = [whole_image_box(height, width)]
                else:
                    assert self._detector is not None
                    image.boxes, image.scores = self._detector.detect(
                        image.image, bbox_thr, nms_thr
                    )
                if len(image.scores) != len(image.boxes):
                    image.scores = np.ones(len(image.boxes))
                if not image.crops:
                    image.crops = [square_around(box, bbox_padding) for box in image.boxes]
                yield image
            if inputs.video is None or not isinstance(bboxes, list):
                return
            if image.index + 1 < len(bboxes):
                raise ValueError(
                    f'bboxes: found boxes of {len(bboxes)} images, expected {image.index + 1}, as '
                    'many as the video has frames'
                )

        for chunk in self._get_chunk_data(with_persons(), batch_size):
            packed = [
                self.pipeline(
                    dict(
                        imgname=image.name, img_path=image.path, img=image.image,
                        img_shape=image.image.shape[:2], box=crop,
                    )
                )
                for image in chunk
                for crop in image.crops
            ]  # fmt: skip
            yield (self.collate_fn(packed) if packed else None), chunk

    @torch.no_grad()
    def forward(
        self, inputs: dict[str, Any] | None, images: Sequence[InputImage]
    ) -> list[BaseDataElement]:
        """Estimate the bodies of a batch; return a data sample for each image."""
        predicted = [] if inputs is None else list(self.model.test_step(inputs))
        samples = []
        for image in images:
            persons, predicted = predicted[: len(image.crops)], predicted[len(image.crops) :]
            samples.append(self._image_sample(image, persons))
        return samples

    def _image_sample(self, image: InputImage, persons: Sequence[Any]) -> BaseDataElement:
        estimates = [estimate_of(person) for person in persons]
        instances = InstanceData(
            bboxes=torch.from_numpy(np.asarray(image.boxes, dtype=np.float64)),
            bbox_scores=torch.from_numpy(np.asarray(image.scores, dtype=np.float64)),
        )
        fields = dict(global_orient=np.s_[:3], body_pose=np.s_[3:])
        pose = _stacked([estimate['pose'] for estimate in estimates], 72)
        for name, columns in fields.items():
            instances[name] = pose[:, columns]
        instances['betas'] = _stacked([estimate['betas'] for estimate in estimates], 10)
        if all('camera' in estimate for estimate in estimates):
            instances['camera'] = _stacked([estimate['camera'] for estimate in estimates], 3)
        instances['crops'] = _stacked([estimate['box'] for estimate in estimates], 4)
        if self.body is not None and persons:
            if self._has_own_body:
                vertices = torch.stack([person.pred_vertices for person in persons])
            else:
                device = next(self.model.parameters()).device
                vertices = self.body(
                    global_orient=instances.global_orient.to(device),
                    body_pose=instances.body_pose.to(device),
                    betas=instances.betas.to(device),
                ).vertices
            instances['vertices'] = torch.as_tensor(vertices).cpu()
        sample = BaseDataElement(
            metainfo=dict(imgname=image.name, img_path=image.path, ori_shape=image.image.shape[:2])
        )
        sample.set_field(instances, 'pred_instances')
        return sample

    def visualize(
        self,
        inputs: Sequence[InputImage],
        preds: Sequence[BaseDataElement],
        return_vis: bool = False,
        show: bool = False,
        wait_time: float = 0,
        draw_bbox: bool = False,
        opacity: float = 0.9,
        black_background: bool = False,
        vis_out_dir: str | Path = '',
        counts: dict[str, int] | None = None,
        writer: VideoWriter | None = None,
    ) -> list[Array]:
        """Draw the bodies over their images, and save, show or return the pictures.

        Args:
            inputs: The images.
            preds: Their data samples.
            return_vis: As in :meth:`__call__`, and so are the following.
            show: See there.
            wait_time: See there.
            draw_bbox: See there.
            opacity: See there.
            black_background: See there.
            vis_out_dir: See there.
            counts: Counts, of which ``not_drawn`` is increased. Default: None.
            writer: Video to which pictures are added instead of files. Default: None.
        """
        if not (return_vis or show or vis_out_dir):
            return []
        pictures = []
        for image, sample in zip(inputs, preds, strict=True):
            persons = sample.pred_instances
            picture = np.zeros_like(image.image) if black_background else image.image.copy()
            if len(persons):
                if 'camera' not in persons:
                    raise ValueError('pictures need the camera, which this model does not estimate')
                picture, behind = draw_bodies(
                    picture,
                    list(persons.vertices.double().numpy()),
                    np.asarray(torch.as_tensor(self.body.faces).cpu()),
                    list(persons.camera.double().numpy()),
                    persons.crops.tolist(),
                    opacity,
                )
                if counts is not None:
                    counts['not_drawn'] += behind
            if draw_bbox:
                for box in persons.bboxes.round().int().tolist():
                    cv2.rectangle(picture, tuple(box[:2]), tuple(box[2:]), _BOX_COLOR, 2)
            if writer is not None:
                writer.add(picture)
            elif vis_out_dir:
                _save_picture(Path(vis_out_dir), image.name, picture)
            if show:
                from mmengine.visualization import Visualizer

                Visualizer().show(picture, win_name=image.name, wait_time=wait_time)
            pictures.append(picture)
        return pictures if return_vis else []

    def postprocess(
        self,
        preds: Sequence[BaseDataElement],
        visualization: list[Array],
        return_datasamples: bool = False,
    ) -> dict[str, Any]:
        """Return the result of one image."""
        predictions = list(preds) if return_datasamples else [_persons(pred) for pred in preds]
        return dict(visualization=visualization, predictions=predictions)

    # -- files -----------------------------------------------------------------------------------

    def _video_writer(
        self, images: InputImages, folder: str | Path | None, stack: ExitStack
    ) -> VideoWriter | None:
        if images.video is None or not folder:
            return None
        path = video_path(Path(folder), images.name)
        temporary = stack.enter_context(atomic_write(path))
        writer = VideoWriter(temporary, images.video.fps, shown=path)
        stack.callback(writer.close)  # also if the generator is left early
        return writer

    def _save(
        self, path: Path, rows: Sequence[Mapping[str, Any]], detector: PersonDetector | None
    ) -> None:
        if not rows:
            print_log(f'{path}: not written, since there is no person', 'current', logging.WARNING)
            return

        def column(name: str) -> Array:
            return np.array([row[name] for row in rows], dtype=np.float64)

        bbox, crop = column('bbox'), column('crop')
        save_fits(
            path,
            imgname=[row['imgname'] for row in rows],
            pose=np.concatenate([column('global_orient'), column('body_pose')], axis=1),
            betas=column('betas'),
            camera=column('camera') if all('camera' in row for row in rows) else None,
            center=(crop[:, :2] + crop[:, 2:]) / 2,
            scale=(crop[:, 2] - crop[:, 0]) / PIXELS_PER_SCALE,
            bbox_xywh=np.concatenate([bbox[:, :2], bbox[:, 2:] - bbox[:, :2]], axis=1),
            provenance=dict(
                method=f'mmjrr.MeshInferencer with {self.cfg.model.type}',
                config=str(getattr(self.cfg, 'filename', None) or ''),
                checkpoint=str(self.weights),
                checkpoint_sha256=sha256(self.weights),
                detector_sha256=None if detector is None else sha256(detector.weights),
                versions=versions(),
            ),
        )

    def _report(self, images: InputImages, counts: dict[str, int]) -> None:
        if counts['without_person']:
            print_log(
                f'{images.name}: {counts["without_person"]} of {counts["images"]} images show no '
                'person',
                logger='current',
                level=logging.WARNING,
            )
        if counts['not_drawn']:
            print_log(
                f'{images.name}: {counts["not_drawn"]} bodies are not in front of their camera '
                'and are not drawn',
                logger='current',
                level=logging.WARNING,
            )


def _scope_of(cfg: Config) -> AbstractContextManager[None]:
    """Return a context in which types are those of the config's scope, by default this package's.

    MMPose's and mmdet's inferencers leave their own scope behind as the default.
    """
    return DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmjrr'))


def _stacked(values: Sequence[Array], size: int) -> torch.Tensor:  # (N, size)
    if not values:
        return torch.zeros(0, size)
    return torch.from_numpy(np.stack(values)).float()


def _persons(sample: BaseDataElement) -> list[dict[str, Any]]:
    """Return the persons of an image as dicts of numbers and lists."""
    instances = sample.pred_instances
    names = ('global_orient', 'body_pose', 'betas', 'camera')
    return [
        dict(
            bbox=instances.bboxes[number].tolist(),
            bbox_score=float(instances.bbox_scores[number]),
            crop=instances.crops[number].tolist(),
            **{name: instances[name][number].tolist() for name in names if name in instances},
        )
        for number in range(len(instances))
    ]


def _save_picture(folder: Path, name: str, picture: Array) -> None:
    """Write a picture under the image's name."""
    path = picture_path(folder, name)
    with atomic_write(path) as temporary:
        if not cv2.imwrite(str(temporary), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
            raise OSError(f'{path}: OpenCV cannot write the picture')
