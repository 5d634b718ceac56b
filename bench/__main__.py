"""`python -m bench`: the command, where it is not on the path."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # the current folder: what lies there is not what is installed

from bench.cli import main

main()
