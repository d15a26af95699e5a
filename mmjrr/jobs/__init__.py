"""Resumable jobs: locks, the identity of a run, shards, worker processes, progress.

A :class:`Job` admits one run at a time to a work directory, refuses to continue a job that was
begun with other settings, and stores finished parts as shards. Person masks, inference,
refinement, the synthetic data set and the converter of Human3.6M's release are jobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmjrr.lazy_names import lazy_names

if TYPE_CHECKING:
    from mmjrr.errors import LockedError
    from mmjrr.jobs.distributed import (
        leave_process_group,
        on_all_processes,
        on_main_process,
        wait_for_all,
    )
    from mmjrr.jobs.identity import (
        Difference,
        Identity,
        IdentityError,
        digest_of_names,
        digest_of_state,
        files_of,
    )
    from mmjrr.jobs.job import Job
    from mmjrr.jobs.lock import WorkDirLock, lock_work_dir
    from mmjrr.jobs.pool import TaskPool
    from mmjrr.jobs.progress import Progress, with_progress
    from mmjrr.jobs.record import Record
    from mmjrr.jobs.shards import ShardFolder

__all__ = [
    'Difference',
    'Identity',
    'IdentityError',
    'Job',
    'LockedError',
    'Progress',
    'Record',
    'ShardFolder',
    'TaskPool',
    'WorkDirLock',
    'digest_of_names',
    'digest_of_state',
    'files_of',
    'leave_process_group',
    'lock_work_dir',
    'on_all_processes',
    'on_main_process',
    'wait_for_all',
    'with_progress',
]

__getattr__, __dir__ = lazy_names(__name__)
