"""The job on one network: plan, remove, repair, retrain; budgets, depth, steps, the account."""
