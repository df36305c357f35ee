"""The files of clients on other machines: described by manifests, uploaded, and staged.

* ``paths``, ``manifest``: a client's description of its files, in terms of its own paths
* ``missing``: what the client still has to send
* ``blobs``: the contents that clients have uploaded
* ``trees``: files staged for psql and Liquibase
* ``sources``: receives uploads and removes unused ones
"""

from .blobs import Blobs, Upload
from .manifest import Manifest
from .missing import Missing
from .sources import Sources
from .trees import Trees

__all__ = ["Blobs", "Manifest", "Missing", "Sources", "Trees", "Upload"]
