"""Training and retraining: the best accuracy that a network can reach on its data."""
