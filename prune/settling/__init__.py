"""What neither the user nor the files say, measured on held-out images and said."""
