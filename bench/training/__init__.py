"""Networks, sets and trainers: the library of the harness and of plugins."""
