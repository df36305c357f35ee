"""Instances: writable clones of states, each a running cluster with its own DSN.

* ``instances``: the parts below, wired to each other
* ``create``, ``restart``, ``reset``, ``promote``, ``removal``: the operations on an instance
* ``expiry``, ``usage``, ``reaper``: deadlines, client connections, removal of expired instances
* ``supervisor``: restarts servers that end
* ``recovery``: brings the instances of an earlier engine back at a start
* ``provisioner``, ``servers``: running clones, and PostgreSQL in a container
* ``ports``, ``port_placeholders``: TCP ports, kept for the life of an instance
* ``keyed_locks``, ``fifo_semaphore``, ``disk_budget``: limits on what runs at the same time
* ``pool``: the warm pool

Locking: an instance changes in one thread at a time, under the lock of its id. A thread that
also needs a lease takes the lease first.
"""

from .expiry import UNSET, Expiry
from .instances import Instances
from .ports import configured_ports
from .servers import Servers
from .services import Services

__all__ = ["UNSET", "Expiry", "Instances", "Servers", "Services", "configured_ports"]
