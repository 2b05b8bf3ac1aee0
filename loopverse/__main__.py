"""`python -m loopverse`, the same as `loopverse`."""

import sys

from loopverse.cli import main

if __name__ == "__main__":
    sys.exit(main())
