"""The version of what is installed; `setup.cfg` says which it is."""

from importlib.metadata import version

from .store.distribution import DISTRIBUTION

__version__ = version(DISTRIBUTION)
