"""`python -m bench`: the command, where it is not on the path."""

from bench.cli import main

main()
