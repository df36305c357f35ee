"""Promotes an instance to a state."""

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlrs_engine.errors import StorageFull
from sqlrs_engine.states.states import NewState
from sqlrs_engine.store.records import Instance, State

from .provisioner import Provisioner
from .restart import Restart
from .servers import LOG_FILE
from .services import OnLog, Services, discard_line
from .usage import Usage

KIND = "snapshot"
FORMAT = 1


class Promotion:
    """Copies a cleanly stopped instance into a new state, a child of the instance's state."""

    def __init__(
        self, services: Services, provisioner: Provisioner, restart: Restart, usage: Usage
    ) -> None:
        self._services = services
        self._provisioner = provisioner
        self._restart = restart
        self._usage = usage

    def promote(
        self, instance_id: str, *, force: bool = False, on_log: OnLog = discard_line
    ) -> State:
        """Make a state of an instance; its server is restarted.

        Raises NotFound, Conflict while clients are connected (``force`` cuts them off),
        ImageUnavailable, InvalidArgument when the cluster has a tablespace outside its data
        directory, StorageFull, ClusterFailed.
        """
        state_id = self._services.instance(instance_id).state_id
        self._make_room(instance_id, state_id)
        with self._services.leases.lease(state_id), self._services.locks.hold(instance_id):
            # A crashed server is started first: only a clean stop leaves a state.
            instance = self._restart.ensure_running(instance_id, on_log)
            if not force:
                self._usage.refuse_connections(instance, "snapshot")
            workspace = self._copy(instance, on_log)
            try:
                self._forget_password(instance, workspace)
                return self._publish(instance, workspace)
            except BaseException:
                self._provisioner.clear(workspace)
                raise

    def _make_room(self, instance_id: str, state_id: str) -> None:
        """Make room for the copy first: on a full disk no server stops cleanly or starts."""
        budget = self._services.disk_budget
        try:
            size = self._services.files.usage(self._services.files.instance_dir(instance_id))
        except OSError:
            size = 0  # deleted or damaged in the meantime, which is reported under the lock
        budget.make_room("prepare_instance", (state_id,), size)
        if budget.exhausted():
            raise StorageFull(
                "the disk of the state store has no room for a snapshot: delete states or "
                "instances, or free disk space"
            )

    def _copy(self, instance: Instance, on_log: OnLog) -> Path:
        on_log(f"instance {instance.instance_id} stops to be copied")
        container = self._services.files.instance_dir(instance.instance_id)
        workspace = None
        try:
            with self._stopped(instance, container, on_log):
                workspace = self._services.files.clone_to_workspace(container)
        except BaseException:
            if workspace is not None:
                self._services.files.discard(workspace)
            raise
        return workspace

    @contextmanager
    def _stopped(self, instance: Instance, container: Path, on_log: OnLog) -> Iterator[None]:
        server = self._services.servers.server(instance.image_id, container)
        try:
            server.stop("fast")
            self._services.ports.hold(instance.port)
            yield
        finally:
            self._restart.restart(instance, server, on_log)

    def _forget_password(self, instance: Instance, workspace: Path) -> None:
        """Remove the instance's password from the copy.

        It stays in the instance, which a crash would leave without one. The server runs with
        the settings of instances: slots and prepared transactions in the copy may need them.
        """
        server = self._services.servers.server(instance.image_id, workspace)
        postmaster = server.start(port=None, settings=self._provisioner.settings())
        server.set_password(postmaster.port, None)
        server.stop("fast")
        (workspace / LOG_FILE).unlink(missing_ok=True)

    def _publish(self, instance: Instance, workspace: Path) -> State:
        new = NewState(
            state_id=_new_state_id(instance.state_id),
            parent_state_id=instance.state_id,
            image_id=instance.image_id,
            prepare_kind=KIND,
            prepare_args_normalized=f"snapshot of {instance.instance_id}",
            size_bytes=self._services.files.usage(workspace),
        )
        return self._services.states.publish_durably(workspace, new)


def _new_state_id(parent_state_id: str) -> str:
    """Return the id of a state without a recipe: a random number takes the place of its step."""
    identity = {
        "format": FORMAT,
        "input": parent_state_id,
        "kind": KIND,
        "step": secrets.token_hex(32),
    }
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
