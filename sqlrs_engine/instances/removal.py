"""Removes instances.

An instance loses its row, its server, then its files, so that the next start can finish what a
crash interrupts: it removes files without a row and the server that runs in them.
"""

from .provisioner import Provisioner
from .services import Services


class Removal:
    """Removes an instance, used or not; ``deletion`` decides whether it may be removed."""

    def __init__(self, services: Services, provisioner: Provisioner) -> None:
        self._services = services
        self._provisioner = provisioner

    def remove(self, instance_id: str) -> bool:
        """Delete an instance, cutting off its clients; return whether it existed."""
        services = self._services
        with services.locks.hold(instance_id):
            instance = services.store.instances.get(instance_id)
            if instance is None:
                return False
            # The step that fails on a full disk comes before those that cannot be undone.
            with services.ports.releasing(instance.port):
                services.store.instances.remove(instance_id)
            self._provisioner.clear(services.files.instance_dir(instance_id))
            return True
