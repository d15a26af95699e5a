"""Compare training on initial and on refined fits. See ``--help``."""

import sys

from mmjrr.cli.compare_training import main

if __name__ == '__main__':
    sys.exit(main())
