"""Thin commands."""


def main() -> None:
    """Nothing yet."""
