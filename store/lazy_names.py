"""Packages that import the names they offer only when these are first asked for (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` of a package that imports names lazily.

    Parameters
    ----------
    package
        ``__name__`` of the package, which lists all that it offers in ``__all__``.
    homes
        Name -> module that defines it, relative to the package. No module of the package may have one of these names:
        importing a module sets the attribute of its name.
    """
    namespace = vars(sys.modules[package])

    def load(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name)
        namespace[name] = getattr(import_module(homes[name], package), name)
        return namespace[name]

    def names() -> list[str]:
        return sorted({*namespace["__all__"], *(name for name in namespace if name.startswith("__"))})

    return load, names
