"""Learn a joint regressor from a synthetic Human3.6M. See ``--help``."""

import sys

from mmjrr.cli.demo import main

if __name__ == '__main__':
    sys.exit(main())
