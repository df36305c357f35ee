"""The state filesystem: state directories and how they are cloned, published and deleted.

* ``state_files``: ``StateFiles``, what other packages need of it
* ``state_fs``: ``StateFs``, which provides that by a ``Backend``
* ``backend``, ``copying``, ``reflink``, ``snapshots``, ``btrfs``: the ways to clone
* ``probe``: the ways to clone that the filesystem of a store supports
* ``layout``, ``containers``, ``tree``, ``exchange``: paths, markers, modes, directory trees
* ``removal``, ``quarantine``: what is deleted, and what is kept out of use
* ``scratch``, ``temporary_files``: directories and files for a short time
"""

from .backend import Backend
from .layout import data_dir
from .state_files import StateFiles
from .state_fs import StateFs

__all__ = ["Backend", "StateFiles", "StateFs", "data_dir"]
