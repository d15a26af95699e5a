"""A refinement run as a resumable job: its identity, its start, and checks of stored batches."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmjrr.engine import calibration, fits_from_joints
from mmjrr.engine.checkpoint import first_weights, local_file
from mmjrr.engine.last_checkpoint import (
    discard_after,
    iteration_of,
    latest_checkpoint,
    repair_last_checkpoint,
)
from mmjrr.engine.samplers import batch_sampler_of, batches_of_process
from mmjrr.errors import DataError
from mmjrr.io import remove_temporary_files, sha256, versions
from mmjrr.jobs import Identity, Job, ShardFolder, digest_of_names, digest_of_state, files_of

#: Folder of the shards in the work directory.
FOLDER = 'pseudo_gt'
#: Folders of the results that precede the first batch.
_EARLIER_FOLDERS = (fits_from_joints.FOLDER, calibration.FOLDER)


def refinement_job(runner: Runner, options: dict[str, Any], body: Any) -> Job:
    """Build the job of a runner's refinement.

    Args:
        runner: The runner; its loop and data set must be built.
        options: All options of ``SMPLPseudoGTHook``, and checksums of the files that they name.
        body: The body model.
    """
    loader = runner.train_dataloader
    batches = batch_sampler_of(loader)
    cfg = runner.cfg
    data = Config(dict(dataset=cfg.train_dataloader.dataset)).to_dict()['dataset']
    files = files_of(loader.dataset, data)
    weights = first_weights(cfg)
    if weights is not None:
        files['load_from'] = sha256(local_file(weights))
    identity = Identity(
        dict(
            refinement=options,
            body=digest_of_state(body),
            model=cfg.get('model'),
            optim_wrapper=cfg.get('optim_wrapper'),
            param_scheduler=cfg.get('param_scheduler'),
            randomness=cfg.get('randomness'),
            data=data,
            files=files,
            images=digest_of_names(loader.dataset),
            batches=dict(
                samples=len(loader.dataset),
                batch_size=batches.batch_size,
                batch_sampler=type(batches).__name__,
                processes=get_world_size(),
                seed=batches.sampler.seed,
                shuffle=batches.sampler.shuffle,
            ),
        ),
        dict(
            versions=versions(),
            device=_device_name(),
            threads=torch.get_num_threads(),
        ),
    )
    return Job(
        runner.work_dir,
        FOLDER,
        identity,
        '.npz',
        stem='batch',
        remedy='or start again in another --work-dir',
    )


def settings_digest(identity: Identity, batches_in_data: int, batches_in_run: int) -> str:
    """Return the checksum of a refinement's settings, by which results can be compared.

    The number of processes is left out, since results do not depend on it. A run that
    ``max_batches`` cuts short has another checksum than the whole run, although it can be resumed
    as such.

    Args:
        identity: Identity of the job.
        batches_in_data: Number of batches of a process.
        batches_in_run: Number of them that the run refines.
    """
    batches = dict(identity.settings['batches'])
    processes = batches.pop('processes')
    if batches_in_run < batches_in_data:
        batches['refined'] = processes * batches_in_run
    return Identity({**identity.settings, 'batches': batches}).digest


def begin(
    job: Job, resume: bool, named_checkpoint: str | None, expected: Collection[tuple[int, int]]
) -> str | None:
    """Begin or resume the job before the runner loads a checkpoint; call this in the main process.

    A resumed run takes the last checkpoint whose earlier batches are all stored. If there is none,
    it starts at the first batch: stored batches are not refined again, but they train the
    discriminators again, which gives the same result.

    Args:
        job: The job.
        resume: Whether to resume the run.
        named_checkpoint: The checkpoint that the user names, if any.
        expected: Batch number and process of all shards of the run.

    Returns:
        The checkpoint to resume from or, without ``resume``, the named one; None if there is none.

    Raises:
        FileExistsError: ``resume`` is false, and the work directory has batches, rounds of a
            calibration or initial fits of an earlier run.
        LockedError: Another run works in the work directory.
        DataError: The run was begun with other settings, or more batches are stored than expected.
    """
    with job.locked():
        stored = job.shards.keys()
        if not resume:
            _refuse_results(job, len(stored))
            job.remove()  # the record of a run that was killed before its first result
        job.begin()
        _check_last(job, stored, expected)
        for folder in _EARLIER_FOLDERS:
            if resume:
                remove_temporary_files(job.work_dir / folder)
            else:
                shutil.rmtree(job.work_dir / folder, ignore_errors=True)
    if named_checkpoint is not None or not resume:
        return named_checkpoint
    repair_last_checkpoint(job.work_dir)
    checkpoint = latest_checkpoint(job.work_dir)
    missing = None if checkpoint is None else first_missing(job, iteration_of(checkpoint), expected)
    if checkpoint is not None and missing is not None:
        print_log(
            f'{job.shards.path(*missing)}: missing, though {checkpoint.name} is of a later batch; '
            'the run resumes before that batch and does not refine stored batches again',
            logger='current',
            level=logging.WARNING,
        )
        discard_after(job.work_dir, missing[0])
        repair_last_checkpoint(job.work_dir)
        checkpoint = latest_checkpoint(job.work_dir)
    return None if checkpoint is None else str(checkpoint)


def _refuse_results(job: Job, batches: int) -> None:
    """Refuse to replace what an earlier run has computed.

    Raises:
        FileExistsError: There are batches, rounds of a calibration or initial fits.
    """
    rounds = ShardFolder(job.work_dir / calibration.FOLDER, '', '.npz', calibration.STEM).keys()
    parts = ShardFolder(job.work_dir / fits_from_joints.FOLDER, '', '.npz').keys()
    fits = fits_from_joints.FILE if fits_from_joints.is_stored(job) else ''
    for found, where in (
        (f'{batches} refined batches' if batches else '', job.folder),
        (f'{len(rounds)} rounds' if rounds else '', job.work_dir / calibration.FOLDER),
        (f'{len(parts)} parts' if parts else '', job.work_dir / fits_from_joints.FOLDER),
        (fits, job.work_dir),
    ):
        if found:
            raise FileExistsError(
                f'{where} holds {found} of an earlier run: add --resume to continue it, or choose '
                'another --work-dir'
            )


def _check_last(
    job: Job, stored: Collection[tuple[int, int | None]], expected: Collection[tuple[int, int]]
) -> None:
    """Refuse to resume with fewer batches than are stored.

    Raises:
        DataError: There are more batches, or a later file is no batch of this run.
    """
    count = 1 + max((number for number, _ in expected), default=-1)
    last = max(stored, key=lambda key: key[0], default=None)
    if last is not None and last[0] >= count:
        job.shards.get(*last)  # refuses a file that is no batch of this run
        found = 1 + last[0]
        raise DataError(
            f'{job.folder}: found {found} batches of this run, expected at most the {count} of '
            f'train_cfg.max_batches: set it to at least {found}, or choose another --work-dir'
        )


def first_missing(
    job: Job, batches: int, expected: Collection[tuple[int, int]]
) -> tuple[int, int] | None:
    """Return batch number and process of the first missing shard of the first ``batches``."""
    present = set(job.shards.keys())
    return min((key for key in expected if key[0] < batches and key not in present), default=None)


def check_stored(job: Job, batches: int, expected: Collection[tuple[int, int]]) -> None:
    """Check that the first ``batches`` batches are stored.

    Raises:
        DataError: A shard is missing.
    """
    missing = first_missing(job, batches, expected)
    if missing is not None:
        raise DataError(
            f'{job.shards.path(*missing)}: missing, though the checkpoint is of batch {batches}; '
            'resume with --resume, without naming a checkpoint'
        )


def expected_samples(runner: Runner) -> dict[tuple[int, int], list[int]]:
    """Return the indices of the samples of each batch and process of a run.

    A process whose part of a batch is empty is left out.
    """
    processes = range(get_world_size())
    batches = [batches_of_process(runner.train_dataloader, rank) for rank in processes]
    return {
        (number, rank): batches[rank][number]
        for number in range(runner.max_iters)
        for rank in processes
        if batches[rank][number]
    }


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu'
