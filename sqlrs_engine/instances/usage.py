"""Whether an instance is in use, and what that does to its deadline."""

from contextlib import suppress

from sqlrs_engine.conntrack import IDLE, Reading
from sqlrs_engine.errors import Conflict, ImageUnavailable, StorageFull
from sqlrs_engine.store.records import Instance

from .services import Services


class Usage:
    """Reads the use of instances; each reading becomes the baseline of the next."""

    def __init__(self, deps: Services) -> None:
        self._deps = deps

    def observe(self, instance: Instance) -> tuple[Reading, bool]:
        """Return a reading and whether the instance was used since the one before.

        Use renews its time to live. An instance whose server is down is idle. On a full disk
        the reading is not kept: the next has the same baseline. The caller holds the lock.
        """
        reading = self._read(instance)
        used = reading.shows_use_since(instance.sessions)
        sessions = instance.sessions if reading.sessions is None else reading.sessions
        with suppress(StorageFull):
            if used:
                self._deps.expiry.renew(instance.instance_id, sessions=sessions)
            elif sessions != instance.sessions:
                self._deps.store.instances.update(instance.instance_id, sessions=sessions)
        return reading, used

    def refuse_connections(self, instance: Instance, doing: str) -> None:
        """Raise Conflict while clients are connected. The caller holds the lock."""
        reading, _ = self.observe(instance)
        if reading.connections:
            raise Conflict(
                f"the instance is in use: close its connections, or force the {doing}",
                f"open connections: {reading.connections}",
            )

    def _read(self, instance: Instance) -> Reading:
        container = self._deps.files.instance_dir(instance.instance_id)
        try:
            server = self._deps.servers.server(instance.image_id, container)
        except ImageUnavailable:
            return IDLE
        if server.postmaster() is None:
            return IDLE
        return self._deps.conntrack.read(server, instance.port)
