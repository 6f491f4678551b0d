"""The edge where everything comes in: networks, checkpoints, data."""
