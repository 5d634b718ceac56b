"""Attacks: perturb(model, images, labels, generator) -> images, pixels in [0, 1], in a ball or in none."""
