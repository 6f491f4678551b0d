"""How the filters that stay make up for those that went: repair, refit, batch-norm statistics."""
