"""Write masks with the errors of a network's masks. See ``--help``."""

import sys

from mmjrr.cli.simulate_masks import main

if __name__ == '__main__':
    sys.exit(main())
