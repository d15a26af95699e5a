"""Print the paper's Table I for any models. See ``--help``."""

import sys

from mmjrr.cli.table1 import main

if __name__ == '__main__':
    sys.exit(main())
