"""The version of what is installed; `setup.cfg` says which it is."""

# pyright: reportMissingImports=false

from importlib.metadata import version

from .store.distribution import DISTRIBUTION

__version__ = version(DISTRIBUTION)
