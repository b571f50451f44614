"""Loaders with the names, batches and attributes that public training code expects."""

from .loaders import FieldLoader, field_loaders

__all__ = ["FieldLoader", "field_loaders"]
