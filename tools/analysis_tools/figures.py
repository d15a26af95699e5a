"""Draw the paper's figures from a refinement. See ``--help``."""

import sys

from mmjrr.cli.figures import main

if __name__ == '__main__':
    sys.exit(main())
