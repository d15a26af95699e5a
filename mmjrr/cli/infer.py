"""Run a mesh estimator on a dataset or images, and write its estimates in SPIN's npz layout.

    python tools/infer_mesh.py configs/inference/spin_h36m.py data/spin/model_checkpoint.pt
    python tools/infer_mesh.py CONFIG CHECKPOINT --out data/h36m/fits/spin_train.npz
    python tools/infer_mesh.py FOLDER_OR_IMAGE_OR_VIDEO --model spin --out-dir OUT

With a config: to resume a killed run, give the same command again; it writes the same bytes. To use
several processes, run ``torchrun --nproc_per_node 4 tools/infer_mesh.py CONFIG CHECKPOINT
--launcher pytorch``; their number does not change the result.
"""

from __future__ import annotations

import argparse
import logging
import os.path as osp
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmjrr.cli.config_options import add_dataset_options
from mmjrr.cli.image_options import (
    CALL_OPTIONS,
    CONSTRUCTOR_OPTIONS,
    add_image_options,
    check_options,
    is_given,
)
from mmjrr.cli.options import OptionError, parse, run_command
from mmjrr.cli.shipped import config_file

if TYPE_CHECKING:
    from mmengine.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    add_dataset_options(
        parser,
        checkpoint="file of the weights; 'none' if the config names it",
        out='npz file to write (default: <work-dir>/<config>.npz)',
        config='config file with a model and a test_dataloader; with --model, the INPUT: an image, '
        'a folder of images, or a video',
    )
    add_image_options(parser)
    parser.register('type', config_file, str)  # the INPUT of --model is no name of a config


def merge_arguments(cfg: Config, args: argparse.Namespace) -> Config:
    """Apply the command's own options to the config.

    Raises:
        ValueError: An option is wrong.
    """
    from mmjrr.cli.runtime import config_name
    from mmjrr.models.mesh_inference import check_settings

    if args.checkpoint not in (None, 'none'):
        cfg.load_from = args.checkpoint
    if args.batch_size is not None:
        cfg.test_dataloader.batch_size = args.batch_size
    cfg.out = args.out or osp.join(cfg.work_dir, f'{config_name(args)}.npz')
    cfg.setdefault('seq_len', 1)
    check_settings(cfg)
    return cfg


def run(args: argparse.Namespace) -> None:
    """Estimate meshes, write the file and log a summary."""
    check_options(args)
    if args.model is not None:
        _run_on_images(args)
        return
    args.config = _config_of(args.config)
    from mmengine.dist import is_main_process

    from mmjrr.cli.runtime import read_config, set_up
    from mmjrr.jobs import leave_process_group
    from mmjrr.models.mesh_inference import infer_meshes, summary
    from mmjrr.registry import DATASETS

    cfg = merge_arguments(read_config(args), args)
    logger = set_up(cfg)
    fits = infer_meshes(
        DATASETS.build(cfg.test_dataloader.dataset),
        _build_model(cfg),
        cfg,
        skip_unreadable=args.skip_unreadable,
        overwrite=args.overwrite,
    )
    if is_main_process():
        logger.info(summary(cfg.out, fits))
    leave_process_group()


def _config_of(name: str) -> str:
    """Return the path of the config of this path or name, in this order.

    Raises:
        OptionError: The path is no config, or several configs have the name.
    """
    path = Path(name)
    if path.exists():
        if path.suffix not in ('.py', '.yml', '.yaml', '.json'):
            raise OptionError(f'{name}: found no config; for images and videos, give --model')
        return name
    try:
        return config_file(name)
    except argparse.ArgumentTypeError as error:
        raise OptionError(str(error)) from error


def _run_on_images(args: argparse.Namespace) -> None:
    """Estimate the bodies in images, and print what was written."""
    from mmjrr.inference import MeshInferencer
    from mmjrr.inference.input_images import InputImages
    from mmjrr.io import read_json

    options: dict[str, Any] = {
        name: getattr(args, name) for name in CALL_OPTIONS if is_given(args, name)
    }
    if args.boxes is not None:
        options['bboxes'] = read_json(args.boxes)
    if args.skip_unreadable:
        options['skip_unreadable'] = True
    inputs = InputImages(args.config)  # refuses a wrong input before models are loaded
    constructor = {option: getattr(args, option) for option in CONSTRUCTOR_OPTIONS}
    inferencer = MeshInferencer(args.model, **constructor, show_progress=True)
    images = persons = 0
    for result in inferencer(
        inputs, batch_size=1 if args.batch_size is None else args.batch_size, **options
    ):
        images += 1
        persons += len(result['predictions'][0])
    print(f'Found {persons} persons in {images} images')
    folder = args.pred_out_dir or (args.out_dir and f'{args.out_dir}/predictions')
    if folder and persons:
        print(f'Wrote {Path(folder) / inputs.name}.npz')


def _build_model(cfg: Config) -> Any:
    from mmengine.device import get_device
    from mmengine.logging import print_log

    from mmjrr.models.estimators.released_weights import load_weights
    from mmjrr.registry import MODELS

    model = MODELS.build(cfg.model)
    if cfg.get('load_from') is not None:
        load_weights(model, cfg.load_from)
    elif cfg.model.get('checkpoint') is None:
        print_log('No checkpoint was given: the weights are random', 'current', logging.WARNING)
    return model.to(get_device()).eval()


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(run, parse(add_arguments, __doc__, argv, prog))


if __name__ == '__main__':
    sys.exit(main())
