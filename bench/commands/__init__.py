"""What the commands do that are more than a few lines; `bench.cli` says how they are asked."""
