"""A board: its `matrix.toml`, and the components that it names."""
