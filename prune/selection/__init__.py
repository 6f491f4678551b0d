"""Which filters go, how many of each layer, and how the ones that stay make up for them."""
