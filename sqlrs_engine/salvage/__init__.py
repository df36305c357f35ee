"""Recovers what the database has lost, from labels beside the containers.

* ``salvage``: adds lost rows, and decides which containers without a row are kept
* ``labels``: a small file for each row
* ``database``: opens the database, or a new one in place of a damaged one
"""

from .labels import Labels
from .salvage import Salvage

__all__ = ["Labels", "Salvage"]
