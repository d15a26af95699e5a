"""Generate person masks of a dataset's images. See ``--help``."""

import sys

from mmjrr.cli.masks import main

if __name__ == '__main__':
    sys.exit(main())
