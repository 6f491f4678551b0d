"""How the remaining filters make up for removed ones: repair, refit, batch-norm statistics."""
