"""Which channels must go together, how they are cut, and the proof that it was exact."""
