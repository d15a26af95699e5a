"""Refine a body on real photographs of one person, seen by four cameras. See ``--help``."""

import sys

from mmjrr.cli.demo_pose2sim import main

if __name__ == '__main__':
    sys.exit(main())
