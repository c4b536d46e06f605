"""`python -m polybatch`: the command line."""

import sys

from polybatch.cli import main

if __name__ == "__main__":
    sys.exit(main())
