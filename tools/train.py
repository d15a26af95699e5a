"""Refine SMPL fits and learn a joint regressor from them. See ``--help``."""

import sys

from mmjrr.cli.train import main

if __name__ == '__main__':
    sys.exit(main())
