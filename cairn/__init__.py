"""Cairn: model-written programs in a sandbox, changes in an overlay, decisions by a person."""

__version__ = "0.1.0"
