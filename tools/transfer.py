"""Carry a joint regressor to another mesh. See ``--help``."""

import sys

from mmjrr.cli.transfer import main

if __name__ == '__main__':
    sys.exit(main())
