"""Loading of batches in which an error message replaces the sample of an unreadable image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, Dataset

from mmjrr.errors import DataError


class UnreadableImage(str):
    """Error message that replaces the sample of an unreadable image in a batch."""


class ReadableSamples(Dataset[Any]):
    """Dataset that returns :class:`UnreadableImage` if reading an image raises.

    An exception in a worker process would lose the other samples of its batch.
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
        dataset: The dataset.
        batches: Indices of each batch.
        num_workers: Number of reading processes. Default: 0, which reads in this process.
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
    """Raise the error of the first unreadable image, unless ``skip_unreadable`` is true.

    Raises:
        DataError: An image is unreadable.
    """
    for sample in samples:
        if isinstance(sample, UnreadableImage) and not skip_unreadable:
            raise DataError(
                f'{sample}\nFinished shards are kept: repair the image or add --skip-unreadable, '
                'then give the same command again'
            )
