"""Reads whether clients use an instance, and renews its deadline if they do."""

from contextlib import suppress

from sqlrs_engine.conntrack import IDLE, Reading
from sqlrs_engine.errors import Conflict, ImageUnavailable, StorageFull
from sqlrs_engine.store.records import Instance

from .services import Services


class Usage:
    """Reads the connections of instances; each reading becomes the baseline of the next."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def connections(self, instance_id: str) -> int:
        """Return how many clients are connected to an instance. Raises NotFound."""
        with self._services.locks.hold(instance_id):
            reading, _ = self.observe(self._services.instance(instance_id))
            return reading.connections

    def observe(self, instance: Instance) -> tuple[Reading, bool]:
        """Return a reading and whether the instance was used since the one before.

        Use renews its time to live. An instance whose server is down is idle. On a full disk
        the reading is not kept: the next one has the same baseline. The caller holds the
        instance's lock.
        """
        reading = self._read(instance)
        used = reading.shows_use_since(instance.sessions)
        sessions = instance.sessions if reading.sessions is None else reading.sessions
        with suppress(StorageFull):
            if used:
                self._services.expiry.renew(instance.instance_id, sessions=sessions)
            elif sessions != instance.sessions:
                self._services.store.instances.update(instance.instance_id, sessions=sessions)
        return reading, used

    def refuse_connections(self, instance: Instance, action: str) -> None:
        """Raise Conflict while clients are connected. The caller holds the instance's lock."""
        reading, _ = self.observe(instance)
        if reading.connections:
            raise Conflict(
                f"the instance is in use: close its connections, or force the {action}",
                f"open connections: {reading.connections}",
            )

    def _read(self, instance: Instance) -> Reading:
        container = self._services.files.instance_dir(instance.instance_id)
        try:
            server = self._services.servers.server(instance.image_id, container)
        except ImageUnavailable:
            return IDLE
        if server.postmaster() is None:
            return IDLE
        return self._services.conntrack.read(server, instance.port)
