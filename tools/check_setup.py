"""Check that everything a config needs is in place. See ``--help``."""

import sys

from mmjrr.cli.check import main

if __name__ == '__main__':
    sys.exit(main())
