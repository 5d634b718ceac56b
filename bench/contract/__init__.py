"""The border to plugins: what they are given and give back, how they are found, named and keyed."""
