"""Convert MMPose's four Human3.6M test frames into the layout that mmjrr reads. See ``--help``."""

import sys

from mmjrr.cli.convert import convert

if __name__ == '__main__':
    sys.exit(convert('h36m-mini'))
