"""Fit bodies to annotated 3D joints, as initial fits. See ``--help``."""

import sys

from mmjrr.cli.initial_fits import main

if __name__ == '__main__':
    sys.exit(main())
