"""How the structure is found: one recorded forward pass with tags on its channels, tried out."""
