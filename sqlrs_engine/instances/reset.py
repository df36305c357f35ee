"""Put an instance back to the content of its state."""

from sqlrs_engine.errors import NotFound
from sqlrs_engine.store.records import Instance

from .lifecycle import Lifecycle
from .provisioner import Provisioner
from .servers import LOG_FILE
from .services import Services
from .usage import Usage


class Reset:
    """Replaces an instance's files by a fresh clone; id, port and password stay."""

    def __init__(
        self, deps: Services, assembly: Provisioner, lifecycle: Lifecycle, activity: Usage
    ) -> None:
        self._deps = deps
        self._assembly = assembly
        self._lifecycle = lifecycle
        self._activity = activity

    def reset(self, instance_id: str, force: bool) -> Instance:
        """Reset an instance; see ``Instances.reset``."""
        state_id = self._lifecycle.get(instance_id).state_id
        with self._deps.leases.lease(state_id), self._deps.locks.hold(instance_id):
            instance = self._lifecycle.get(instance_id)
            container = self._deps.files.instance_dir(instance_id)
            server = self._deps.servers.server(instance.image_id, container)
            if not force:
                self._activity.refuse_connections(instance, "reset")
            self._replace_files(instance)
            return self._lifecycle.restart(instance, server)

    def _replace_files(self, instance: Instance) -> None:
        """Copy first and swap then, so that a failing copy costs nothing."""
        files = self._deps.files
        source = files.state_dir(instance.image_id, instance.state_id)
        if not self._deps.states.exists(instance.state_id):
            raise NotFound(
                "the state's files are missing or damaged: prepare it again", instance.state_id
            )
        container = files.instance_dir(instance.instance_id)
        workspace = files.clone_to_workspace(source)
        try:
            (workspace / LOG_FILE).unlink(missing_ok=True)
            files.exchange(container, workspace)
        except BaseException:
            files.discard(workspace)
            raise
        # Only now: what was there runs on until nothing can fail any more.
        self._assembly.clear(workspace)
