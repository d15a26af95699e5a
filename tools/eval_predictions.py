"""Evaluate stored predictions of any model with any joint regressors. See ``--help``."""

import sys

from mmjrr.cli.evaluate import main

if __name__ == '__main__':
    sys.exit(main())
