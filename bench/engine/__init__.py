"""Who runs stages, and what came of them."""
