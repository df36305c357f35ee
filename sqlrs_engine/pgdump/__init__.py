"""Dumps of live databases, made by the client with pg_dump over its own connection.

* ``source``: how to reach the database; passwords go to programs by their environment alone
* ``patterns``, ``filters``: the parts of the database that are wanted
* ``database``: its version and its size
* ``programs``: a pg_dump that understands it
* ``advice``, ``run``: pg_dump at work, and what to do when it fails
"""
