"""Disposable PostgreSQL: scripts become cached states, states become instances."""

__version__ = "0.1.0"
