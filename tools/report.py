"""Write a report as one HTML file. See ``--help``."""

import sys

from mmjrr.cli.report import main

if __name__ == '__main__':
    sys.exit(main())
