"""Print what a config needs, and whether each thing is found. See ``--help``."""

import sys

from mmjrr.cli.check import main

if __name__ == '__main__':
    sys.exit(main())
