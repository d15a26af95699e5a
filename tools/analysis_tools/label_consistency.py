"""Test whether subjects' joints are labeled at the same positions. See ``--help``."""

import sys

from mmjrr.cli.label_consistency import main

if __name__ == '__main__':
    sys.exit(main())
