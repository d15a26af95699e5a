"""Convert Human3.6M's release into MMPose's layout. See ``--help``."""

import sys

from mmjrr.cli.convert import convert

if __name__ == '__main__':
    sys.exit(convert('h36m'))
