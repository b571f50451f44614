"""The version of what is installed; `setup.cfg` says which it is."""

from importlib.metadata import version

__version__ = version("trialpack")
