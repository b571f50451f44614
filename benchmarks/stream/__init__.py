"""The training stream against other ways to read the same trials."""
