"""Formats of mice: each read and, where it can be, written in one place; `registry` has a row for each."""

from .format import Format, Option, WriteSettings
from .registry import find_sources, formats, open_source

__all__ = ["Format", "Option", "WriteSettings", "find_sources", "formats", "open_source"]
