"""The tree of files that mice are published as: surveyed, read and made again, in a folder, a zip or a tar."""
