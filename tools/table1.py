"""Table I of the paper: models by row, regressors by column. See ``--help``."""

import sys

from mmjrr.cli.table1 import main

if __name__ == '__main__':
    sys.exit(main())
