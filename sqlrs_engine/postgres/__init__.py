"""PostgreSQL: the origin of its programs, and the operation of clusters.

* ``cluster``: one data directory: initialise, start, stop, connect
* ``errors``: failures of a server
* ``initdb``, ``settings``: how a cluster is initialised and configured
* ``launcher``: how the programs are started
* ``postmaster``, ``control_file``, ``log_file``: the state of a server, from its files
* ``remains``, ``shared_memory``: what a killed server leaves behind
* ``superuser``, ``scram``: the engine's own sessions, and the password of the DSN
* ``entry_point``: the scripts that images run in a new cluster
* ``os_user``, ``user_name``, ``access``: the user that runs the servers when the engine is root
* ``majors``: the versions that are supported
* ``distributions``: the sets of PostgreSQL programs, and the images that name them
* ``images``: images of registries, unpacked into root file systems
"""
