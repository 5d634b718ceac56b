"""Data sets: real images, as their authors publish them."""
