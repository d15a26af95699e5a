"""Download files that other projects publish and mmjrr uses. See ``--help``."""

import sys

from mmjrr.cli.download import main

if __name__ == '__main__':
    sys.exit(main())
