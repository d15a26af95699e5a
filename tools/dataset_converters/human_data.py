"""Convert MMHuman3D's HumanData files of Human3.6M into MMPose's layout. See ``--help``."""

import sys

from mmjrr.cli.convert import convert

if __name__ == '__main__':
    sys.exit(convert('human-data'))
