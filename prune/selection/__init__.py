"""Which filters go, and how many of each layer."""
