"""Write the weights of an old checkpoint to a file that holds nothing else.

    python tools/model_converters/rewrite_checkpoint.py vibe_model_wo_3dpw.pth.tar vibe.pt

Some checkpoints contain objects of their training code besides the weights, and mmjrr refuses files
that name unknown classes. This command drops such objects without running any code, and lists their
classes. It writes the weights, unchanged, under their original key.
"""

from __future__ import annotations

import argparse
from collections import OrderedDict
from pathlib import Path


def rewrite(source: str | Path, target: str | Path) -> tuple[int, list[str]]:
    """Write the weights of ``source`` to ``target``.

    Returns:
        The number of weights, and the names of classes that were left out.

    Raises:
        FileNotFoundError: ``source`` does not exist.
        DataError: ``source`` is damaged, or contains no weights.
    """
    import torch

    from mmjrr.io import WEIGHT_KEYS, atomic_write, read_torch, weights_of

    left_out: set[str] = set()
    content = read_torch(source, skip_unknown=True, skipped_names=left_out)
    weights = weights_of(content, str(source))
    key = next((k for k in WEIGHT_KEYS if isinstance(content.get(k), dict)), 'state_dict')
    with atomic_write(target) as temporary:
        torch.save({key: OrderedDict(weights)}, temporary)
    return len(weights), sorted(left_out)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', help='checkpoint, as its authors released it')
    parser.add_argument('target', help='file to write')
    args = parser.parse_args()
    try:
        count, left_out = rewrite(args.source, args.target)
    except (ValueError, OSError) as error:
        parser.exit(1, f'error: {error}\n')
    print(f'Wrote {args.target}: {count} tensors')
    if left_out:
        print(f'Left out objects of {", ".join(left_out)}')


if __name__ == '__main__':
    main()
