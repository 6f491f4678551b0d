"""`prune-dl sweep`: one network at several budgets."""
