"""Attacks: they move images, pixels in [0, 1], in a ball or in none."""
