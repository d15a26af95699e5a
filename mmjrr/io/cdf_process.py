"""Reading of one CDF variable in a process of its own, for :func:`mmjrr.io.cdf.read_cdf`.

    python cdf_process.py PATH VARIABLE LARGEST MEMORY SECONDS

Writes a line of JSON with the variable's ``shape`` and whether the values follow, then the values
as float64. This file imports nothing of mmjrr, whose import takes longer than the reading.
"""

import json
import math
import os
import sys


def limit(memory: int, seconds: int) -> None:
    """Limit this process: addresses beyond those in use, processor time, size of written files."""
    try:
        import resource
    except ImportError:  # not on every system; the parent's limit of time holds there
        return
    limits = [
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, memory),
        (resource.RLIMIT_CORE, 0),
    ]
    if os.path.exists('/proc/self/statm'):  # Linux alone says how much is in use
        with open('/proc/self/statm') as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        limits.append((resource.RLIMIT_AS, used + memory))
    for kind, value in limits:
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, hard))


def main(path: str, variable: str, largest: str, memory: str, seconds: str) -> None:
    """Read a variable of a CDF file within limits, which come as text from a command line."""
    sys.path.pop(0)  # this folder, whose modules are not meant to be found by their short names
    import numpy as np
    from cdflib.cdfread import CDF

    limit(int(memory), int(seconds))
    file = CDF(os.path.abspath(path))
    inquiry = file.varinq(variable)
    shape = [int(inquiry.Last_Rec) + 1, *map(int, inquiry.Dim_Sizes)]
    small = 0 <= math.prod(shape) <= int(largest)
    values = np.asarray(file.varget(variable), dtype=np.float64) if small else np.zeros(0)
    header = dict(shape=shape, values=bool(small and values.size == math.prod(shape)))
    sys.stdout.buffer.write(json.dumps(header).encode() + b'\n' + values.tobytes())


if __name__ == '__main__':
    try:
        main(*sys.argv[1:])
    except BaseException as error:  # of a damaged file cdflib raises nearly anything
        print(f'{type(error).__name__}: {error}'[:500], file=sys.stderr)
        sys.exit(1)
