"""Batches of a data set's samples in which unreadable images are told from readable ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, Dataset

from mmjrr.errors import DataError


class UnreadableImage(str):
    """What is wrong with an image that cannot be read; stands in a batch for its sample."""


class ReadableSamples(Dataset):
    """A data set in which an error of reading an image is an :class:`UnreadableImage`.

    An error in a worker process would lose the other samples of its batch.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any] | UnreadableImage:
        try:
            return self.dataset[index]
        except (DataError, FileNotFoundError) as error:
            return UnreadableImage(error)


def load_batches(
    dataset: Any, batches: Sequence[Sequence[int]], num_workers: int = 0
) -> Iterator[list[dict[str, Any] | UnreadableImage]]:
    """Yield the samples of each batch of indices, read by worker processes.

    Args:
        dataset: The data set.
        batches: Indices of each batch.
        num_workers: The number of processes that read. Defaults to 0: this process reads.
    """
    return iter(
        DataLoader(
            ReadableSamples(dataset),
            batch_sampler=[list(batch) for batch in batches],
            num_workers=num_workers,
            collate_fn=list,
        )
    )


def refuse_unreadable(samples: Sequence[Any], skip_unreadable: bool) -> None:
    """Raise the error of the first unreadable image unless such images are skipped.

    Raises:
        DataError: An image is unreadable.
    """
    for sample in samples:
        if isinstance(sample, UnreadableImage) and not skip_unreadable:
            raise DataError(
                f'{sample}\nFinished shards are kept: repair the image, or add --skip-unreadable, '
                'and give the same command again'
            )
