"""Public API of prune-dl (imported as prune_dl.prune)."""
