"""A program that reads one CDF variable, which :func:`mmjrr.io.cdf.read_cdf` starts.

    python cdf_process.py PATH VARIABLE LARGEST MEMORY SECONDS

It writes a line of JSON to stdout (``shape``: the variable's shape; ``values``: whether the values
follow), then the values as float64. It does not import mmjrr: that import takes longer than the
reading.
"""

import json
import math
import os
import sys


def limit(memory: int, seconds: int) -> None:
    """Limit this process: additional memory, processor time, and the size of written files."""
    try:
        import resource
    except ImportError:  # Windows has no such module; the parent's limit of time applies there
        return
    limits = [
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, memory),
        (resource.RLIMIT_CORE, 0),
    ]
    if os.path.exists('/proc/self/statm'):  # only Linux reports the memory in use
        with open('/proc/self/statm') as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        limits.append((resource.RLIMIT_AS, used + memory))
    for kind, value in limits:
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, hard))


def main(path: str, variable: str, largest: str, memory: str, seconds: str) -> None:
    """Read a variable of a CDF file within limits and write it to stdout.

    The arguments are texts from the command line: see the module's docstring.
    """
    sys.path.pop(0)  # drop this folder, so that its modules do not shadow others
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
    except BaseException as error:  # a damaged file can make cdflib raise nearly anything
        print(f'{type(error).__name__}: {error}'[:500], file=sys.stderr)
        sys.exit(1)
