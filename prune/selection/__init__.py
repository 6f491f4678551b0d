"""Which filters go, how many of each layer, and the repair of what reads them."""
