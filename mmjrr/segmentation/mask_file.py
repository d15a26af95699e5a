"""Writer of the mask file that refinement reads, from the shards of a mask generation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmjrr.array_types import Array
from mmjrr.datasets.masks import encode_cells
from mmjrr.datasets.run_length import encode_levels, encode_rle
from mmjrr.errors import DataError
from mmjrr.io import atomic_write
from mmjrr.jobs import ShardFolder
from mmjrr.segmentation.mask_cells import cells_of_pasted_mask

#: Outcomes of an image. For each of them, a shard and the file contain a dict by image name.
PARTS = ('masks', 'without_person', 'excluded')


def write_mask_file(
    path: str | Path, shards: ShardFolder, count: int, identity: dict[str, Any]
) -> dict[str, int]:
    """Merge shards into one mask file, with one shard in memory at a time.

    :class:`~mmjrr.datasets.masks.Masks` describes the format; ``info`` comes last.

    Args:
        path: The JSON file to write.
        shards: The shards 0 to ``count`` - 1, each with a dict for each of :data:`PARTS`.
        count: Number of shards.
        identity: Inputs and settings from which the masks were made, written into ``info``.

    Returns:
        The number of images in each of :data:`PARTS`.

    Raises:
        DataError: A shard is missing or damaged, or no image has a mask.
    """
    shards.check((number, None) for number in range(count))
    counts = dict.fromkeys(PARTS, 0)
    with atomic_write(path) as temporary, open(temporary, 'w') as file:
        file.write('{')
        for part in PARTS:
            file.write(f'"{part}": {{')
            for name, entry in _entries(shards, count, part):
                file.write(', ' * (counts[part] > 0))
                file.write(f'{json.dumps(name)}: {json.dumps(entry, sort_keys=True)}')
                counts[part] += 1
            file.write('}, ')
        info = {'counts': counts, 'identity': identity}
        file.write(f'"info": {json.dumps(info, sort_keys=True)}}}\n')
        file.flush()
        if not counts['masks']:
            _, reason = next(entry for part in PARTS[1:] for entry in _entries(shards, count, part))
            raise DataError(f'none of {sum(counts.values())} images has a mask: {reason}')
    return counts


def _entries(shards: ShardFolder, count: int, part: str) -> Iterator[tuple[str, Any]]:
    """Yield name and entry of each image of one part, over all shards."""
    for number in range(count):
        entries = shards.get(number).get(part)
        if not isinstance(entries, dict):
            raise DataError(
                f'{shards.path(number)}: {part}: found no dict of images; remove the shard, and '
                'give the same command again'
            )
        yield from entries.items()


def mask_entry(
    mask: Array,  # (h, w) uint8, 0 to 255
    score: float,
    box: Array,  # (4,): x0, y0, x1, y1, pixels
    overlap: float,
    soft: bool = False,
) -> dict[str, Any]:
    """Return the file's entry of one mask.

    Args:
        mask: Probability of the foreground, in steps of 1/255.
        score: The network's score of the person.
        box: The network's box of the person.
        overlap: The person's overlap with the annotated one, 0 to 1.
        soft: Whether to add to the mask thresholded at one half the soft mask, in steps of one
            eighth, and the network's probabilities in the 28 x 28 cells of the box.
    """
    entry: dict[str, Any] = {
        'size': list(mask.shape),
        'counts': encode_rle(mask >= 128).decode('ascii'),
        'score': round(float(score), 6),
        'box': [round(float(value), 2) for value in box],
        'overlap': round(float(overlap), 4),
    }
    if soft:
        entry['levels'] = [code.decode('ascii') for code in encode_levels(mask)]
        entry['cells'] = encode_cells(cells_of_pasted_mask(mask / 255, box))
    return entry
