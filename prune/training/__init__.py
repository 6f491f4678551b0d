"""Training and retraining: the best success rate that a network can reach on its data."""
