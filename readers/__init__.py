"""Out of the store: what is in it."""
