"""How fast recorded numbers are read: beside the floor of bare numpy and polars, and beside the peers' own readers."""
