"""The tree of files that mice are published as: surveyed, read, made again; in a folder, a zip."""
