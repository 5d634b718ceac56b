"""Finished stages, on disk."""
