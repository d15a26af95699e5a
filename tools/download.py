"""Fetch files of others that mmjrr works with. See ``--help``."""

import sys

from mmjrr.cli.download import main

if __name__ == '__main__':
    sys.exit(main())
