"""Rewrite an old checkpoint so that PyTorch's safe loader reads it.

    python tools/model_converters/rewrite_checkpoint.py vibe_model_wo_3dpw.pth.tar vibe.pt

Training code of SPIN's time saved NumPy numbers (a performance, say) and objects of its own beside
the weights; ``torch.load(weights_only=True)`` refuses files that name such. Here weights, arrays
and plain values are read by an unpickler that knows these alone; whatever else the file names is
left out, not run, and listed. The weights are written under the key they had, unchanged.
"""

from __future__ import annotations

import argparse
import pickle
import types
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import torch

from mmjrr.errors import DataError
from mmjrr.io import atomic_write
from mmjrr.io.pickles import AllowList, UnsafePickleError
from mmjrr.models.estimators.checkpoints import WEIGHT_KEYS, weights_of


class LeftOut:
    """Stands in for an object of a class, or a call of a function, that is not known."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass


class TensorUnpickler(AllowList, pickle.Unpickler):
    path = Path()
    also = {
        ('torch._utils', '_rebuild_tensor'): torch._utils._rebuild_tensor,
        ('torch._utils', '_rebuild_tensor_v2'): torch._utils._rebuild_tensor_v2,
        ('torch._utils', '_rebuild_parameter'): torch._utils._rebuild_parameter,
        ('torch', 'Size'): torch.Size,
        ('torch', 'device'): torch.device,
        ('collections', 'OrderedDict'): OrderedDict,
        ('collections', 'defaultdict'): defaultdict,
    }
    left_out: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except UnsafePickleError:
            self.left_out.add(f'{module}.{name}')
            return LeftOut


def rewrite(source: str | Path, target: str | Path) -> tuple[int, list[str]]:
    """Write the weights of ``source`` to ``target``; how many, and what was left out.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is broken, or holds no weights.
    """
    if not Path(source).is_file():
        raise FileNotFoundError(f'{source}: no such file')
    reader: Any = types.ModuleType('reader')
    reader.Unpickler = type('Reader', (TensorUnpickler,), {'path': Path(source), 'left_out': set()})
    reader.load = lambda file, **kwargs: reader.Unpickler(file, **kwargs).load()
    try:
        content = torch.load(source, map_location='cpu', pickle_module=reader, weights_only=False)
    except Exception as error:  # a broken file can raise nearly anything
        raise DataError(f'{source}: not a readable checkpoint ({error})') from error
    weights = weights_of(content, str(source))
    key = next((k for k in WEIGHT_KEYS if isinstance(content.get(k), dict)), 'state_dict')
    with atomic_write(target) as temporary:
        torch.save({key: OrderedDict(weights)}, temporary)
    return len(weights), sorted(reader.Unpickler.left_out)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', help='checkpoint as its authors released it')
    parser.add_argument('target', help='file to write')
    args = parser.parse_args()
    count, left_out = rewrite(args.source, args.target)
    print(f'{args.target}: {count} tensors')
    if left_out:
        print(f'left out what names {", ".join(left_out)}')


if __name__ == '__main__':
    main()
