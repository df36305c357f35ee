"""Files of clients on other machines: described by manifests, uploaded, staged for programs.

* ``paths``, ``manifest``: the client's description of its files, with its own paths
* ``missing``: the files that the client has to upload
* ``blobs``: the contents that it uploads
* ``trees``: the files staged for psql and Liquibase
* ``sources``: uploads, and the removal of those that nothing uses
"""

from .blobs import Blobs, Upload
from .manifest import Manifest
from .missing import Missing
from .sources import Sources
from .trees import Trees

__all__ = ["Blobs", "Manifest", "Missing", "Sources", "Trees", "Upload"]
