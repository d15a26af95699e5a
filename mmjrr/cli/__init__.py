"""Commands: each module parses the arguments of one command and calls the library.

A module defines ``add_arguments(parser)``, ``run(args)``, which returns the exit status or None
for 0, and ``main(argv)``. Until ``run`` it imports nothing heavy, so ``--help`` is quick.
"""

import os

# OpenMP's threads sleep while they wait for one another. By default they spin, and on a busy
# machine they take the processor from the thread that they wait for. PyTorch's OpenMP reads this
# when it is loaded, which is after this module; a user's own setting stays.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
