"""The command line: one thin command a verb."""

from .main import main

__all__ = ["main"]
