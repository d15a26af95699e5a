"""Refine a batch for each line of the input, with the package and the benchmarks of a checkout.

    PYTHONPATH=CHECKOUT python tools/benchmarks/serve_refinement.py CHECKOUT DATA BATCH OUT

``large_runs.py`` starts it for two versions, which take turns. Each answer is a line of JSON:
processor seconds of 100 iterations, mean terms, their weights, and the IoU.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

ITERATIONS = 100


def main() -> None:
    """Refine whenever a line is read from the standard input."""
    checkout, data, batch, out = sys.argv[1:]
    sys.path.insert(0, str(Path(checkout) / 'tools/benchmarks'))
    args = argparse.Namespace(out=Path(out), seed=0, device='cpu', iterations=ITERATIONS)
    importlib.import_module('torch').set_num_threads(1)
    case = importlib.import_module('refinement').Case(args, int(batch), False, Path(data))
    case.refine(2)
    for _ in sys.stdin:
        start = time.process_time()
        result = case.refine(ITERATIONS)
        answer = dict(
            processor=time.process_time() - start,
            terms={name: float(value.mean()) for name, value in result.terms_refined.items()},
            weights=result.weights,
            iou=float(result.iou_refined.mean()),
        )
        print(f'answer {json.dumps(answer)}', flush=True)


if __name__ == '__main__':
    main()
