"""Evaluate a config's model with any joint regressors. See ``--help``."""

import sys

from mmjrr.cli.test import main

if __name__ == '__main__':
    sys.exit(main())
