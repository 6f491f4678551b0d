"""`python -m prune_dl.prune` is `prune-dl`."""

from .cli import main

main()
