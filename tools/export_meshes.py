"""Write the bodies of any results file as meshes. See ``--help``."""

import sys

from mmjrr.cli.export_meshes import main

if __name__ == '__main__':
    sys.exit(main())
