"""Out of the store: what is in it."""

from .summary import summarize

__all__ = ["summarize"]
