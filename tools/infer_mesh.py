"""Run a mesh estimator on a dataset. See ``--help``."""

import sys

from mmjrr.cli.infer import main

if __name__ == '__main__':
    sys.exit(main())
