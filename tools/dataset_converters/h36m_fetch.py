"""Convert h36m-fetch's files of Human3.6M into MMPose's layout. See ``--help``."""

import sys

from mmjrr.cli.convert import convert

if __name__ == '__main__':
    sys.exit(convert('h36m-fetch'))
