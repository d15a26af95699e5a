"""Options of ``mmjrr infer INPUT --model NAME``, which estimates bodies in images and videos."""

from __future__ import annotations

import argparse

from mmjrr.cli.options import OptionError

#: Options that go with ``--model`` only: arguments of the inferencer, and of its call.
CONSTRUCTOR_OPTIONS = ('weights', 'device', 'body_model', 'det_model', 'det_weights', 'det_cat_ids')
CALL_OPTIONS = (
    'bbox_thr', 'nms_thr', 'bbox_padding', 'show', 'draw_bbox', 'out_dir', 'vis_out_dir',
    'pred_out_dir',
)  # fmt: skip

#: Options of the detector, which boxes replace.
_DETECTOR_OPTIONS = ('det_model', 'det_weights', 'det_cat_ids', 'bbox_thr', 'nms_thr')


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of inference on images, which have the names of MMPose's."""
    group = parser.add_argument_group('images, folders and videos')
    group.add_argument(
        '--model', help="estimator: 'spin', 'vibe', 'meva', or a config; INPUT is then no config"
    )
    group.add_argument('--weights', help='file of its weights (default: the downloaded file)')
    group.add_argument('--device', help="device of the models, such as 'cpu' (default: a GPU)")
    group.add_argument(
        '--body-model',
        help="body of the pictures: a SMPL file or folder, or 'free_body' (default: the SMPL file "
        'in the folder of downloads)',
    )
    group.add_argument(
        '--det-model',
        help="mmdet's detector, by name or config, or 'whole_image' (default: Mask R-CNN)",
    )
    group.add_argument('--det-weights', help='file of its weights (default: the downloaded file)')
    group.add_argument(
        '--det-cat-ids', type=int, nargs='+', metavar='ID', help='classes to keep (default: person)'
    )
    group.add_argument(
        '--boxes',
        metavar='FILE',
        help='boxes instead of a detector: JSON with [x0, y0, x1, y1], or a list of them, by image',
    )
    group.add_argument('--bbox-thr', type=float, help="detections' scores are above (default: 0.3)")
    group.add_argument('--nms-thr', type=float, help='IoU of distinct persons (default: 0.3)')
    group.add_argument(
        '--bbox-padding', type=float, help="factor on a box's longer side (default: 1.2)"
    )
    group.add_argument(
        '--out-dir', help='folder to write: predictions/ and, with a body, visualizations/'
    )
    group.add_argument('--pred-out-dir', help='folder of predictions (default: in --out-dir)')
    group.add_argument('--vis-out-dir', help='folder of pictures (default: in --out-dir)')
    group.add_argument('--show', action='store_true', help='show pictures in a window')
    group.add_argument('--draw-bbox', action='store_true', help='draw boxes into the pictures')


def check_options(args: argparse.Namespace) -> None:
    """Check that options of images, and those of datasets, are not mixed.

    Raises:
        OptionError: They are, or nothing would be written.
    """
    with_model = args.model is not None
    names = (
        ('checkpoint', 'out', 'work_dir', 'overwrite', 'cfg_options')
        if with_model
        else (*CONSTRUCTOR_OPTIONS, *CALL_OPTIONS, 'boxes')
    )
    for name in names:
        if is_given(args, name):
            option = 'CHECKPOINT' if name == 'checkpoint' else _option(name)
            kind = 'images: use --weights and --out-dir' if with_model else 'a config: give --model'
            raise OptionError(f'{option} does not go with {kind}')
    if with_model and args.launcher != 'none':
        raise OptionError('--launcher goes with a config; images are estimated by one process')
    if with_model and not (args.out_dir or args.pred_out_dir or args.vis_out_dir or args.show):
        raise OptionError('nothing would be written: give --out-dir, or --show')
    if args.boxes is not None:
        for name in _DETECTOR_OPTIONS:
            if is_given(args, name):
                raise OptionError(f'{_option(name)} does not go with --boxes')
    if args.draw_bbox and not (args.out_dir or args.vis_out_dir or args.show):
        raise OptionError('--draw-bbox needs pictures: give --out-dir, --vis-out-dir or --show')


def is_given(args: argparse.Namespace, name: str) -> bool:
    """Return whether an option has a value; 0 is one."""
    value = getattr(args, name)
    return value is not None and value is not False


def _option(name: str) -> str:
    return f'--{name.replace("_", "-")}'
