"""`python -m prune_dl.prune` is `prune-dl`."""

from .command.cli import main

main()
