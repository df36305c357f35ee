"""Kept dumps: output of pg_dump that clients have uploaded, for prepares to restore.

* ``dump``: the record of a dump
* ``directory``: the dumps on the disk
* ``upload``, ``room``: an upload in progress, and the disk space that it takes
* ``uses``: the dumps that requests name
* ``dumps``: receives, lists, hands out, deletes and evicts dumps
"""

from .dump import Dump
from .dumps import Dumps
from .room import UPLOAD
from .upload import Upload

__all__ = ["UPLOAD", "Dump", "Dumps", "Upload"]
