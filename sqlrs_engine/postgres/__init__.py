"""PostgreSQL itself: where its programs come from and how a cluster is run.

* ``images``: what an image such as ``postgres:17`` asks for
* ``distributions``: the sets of programs there are, and which one an image means
* ``install``, ``unpack``, ``libraries``: one more set, downloaded
* ``os_user``, ``reach``: who runs the server when the engine is root
* ``cluster``: one data directory: initialise, start, stop, connect
"""

OLDEST_MAJOR = 14
NEWEST_MAJOR = 18
"""The major versions that there are packages of; an installed one may be newer."""
