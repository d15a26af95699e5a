"""The main job on free data: a new joint regressor from images, masks and initial fits.

See ``--help``.
"""

import sys

from mmjrr.cli.demo import main

if __name__ == '__main__':
    sys.exit(main())
