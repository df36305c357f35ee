"""Resets an instance to the content of its state."""

from sqlrs_engine.store.records import Instance

from .provisioner import Provisioner
from .restart import Restart
from .servers import LOG_FILE
from .services import Services
from .usage import Usage


class Reset:
    """Replaces an instance's files with a fresh clone of its state."""

    def __init__(
        self, services: Services, provisioner: Provisioner, restart: Restart, usage: Usage
    ) -> None:
        self._services = services
        self._provisioner = provisioner
        self._restart = restart
        self._usage = usage

    def apply(self, instance_id: str, force: bool = False) -> Instance:
        """Reset an instance; its id, port and password stay.

        When another program has its port, it moves: see ``Restart.ensure_running``. Raises
        NotFound, Conflict while clients are connected (``force`` cuts them off),
        ImageUnavailable, StorageFull, ClusterFailed.
        """
        services = self._services
        state_id = services.instance(instance_id).state_id
        with services.leases.lease(state_id), services.locks.hold(instance_id):
            instance = services.instance(instance_id)
            container = services.files.instance_dir(instance_id)
            server = services.servers.server(instance.image_id, container)
            if not force:
                self._usage.refuse_connections(instance, "reset")
            self._replace_files(instance)
            return self._restart.restart(instance, server)

    def _replace_files(self, instance: Instance) -> None:
        """Copy first, then exchange, so that a copy that fails changes nothing."""
        files = self._services.files
        source = files.state_dir(instance.image_id, instance.state_id)
        self._services.states.require(instance.state_id)
        container = files.instance_dir(instance.instance_id)
        workspace = files.clone_to_workspace(source)
        try:
            (workspace / LOG_FILE).unlink(missing_ok=True)
            files.exchange(container, workspace)
        except BaseException:
            files.discard(workspace)
            raise
        # From here on nothing can fail: end the server that runs in the former files.
        self._provisioner.clear(workspace)
