"""The major versions of PostgreSQL."""

OLDEST_MAJOR = 14
"""The oldest that the engine supports."""

NEWEST_MAJOR = 18
"""The newest of which there is a package to install; others may be newer."""
