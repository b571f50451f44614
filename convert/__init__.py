"""Into the store: sources, plan, writing, publishing; samples to try it on."""

from .conversion import Summary, convert_mouse, plan_mouse
from .plan import Plan
from .sources import find_sources, open_source

__all__ = ["Plan", "Summary", "convert_mouse", "find_sources", "open_source", "plan_mouse"]
