"""The published mechanism (arXiv 2305.18078) from the sums of one forward pass."""
