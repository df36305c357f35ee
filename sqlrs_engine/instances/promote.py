"""Make a state of an instance."""

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlrs_engine.errors import StorageFull
from sqlrs_engine.states.states import NewState
from sqlrs_engine.store.records import Instance, State

from .lifecycle import Lifecycle
from .provisioner import Provisioner
from .servers import LOG_FILE, OnLog
from .services import Services
from .usage import Usage

KIND = "snapshot"
FORMAT = 1


class Promotion:
    """Copies a cleanly stopped instance into a new state, a child of its own."""

    def __init__(
        self, deps: Services, assembly: Provisioner, lifecycle: Lifecycle, activity: Usage
    ) -> None:
        self._deps = deps
        self._assembly = assembly
        self._lifecycle = lifecycle
        self._activity = activity

    def promote(self, instance_id: str, force: bool, on_log: OnLog) -> State:
        """Promote an instance; see ``Instances.promote``."""
        state_id = self._lifecycle.get(instance_id).state_id
        self._make_room(instance_id, state_id)
        with self._deps.leases.lease(state_id), self._deps.locks.hold(instance_id):
            # A crashed server is started first: only a clean stop leaves a state.
            instance = self._lifecycle.ensure_running(instance_id, on_log)
            if not force:
                self._activity.refuse_connections(instance, "snapshot")
            workspace = self._copy(instance, on_log)
            try:
                self._forget_password(instance, workspace)
                return self._publish(instance, workspace)
            except BaseException:
                self._assembly.clear(workspace)
                raise

    def _make_room(self, instance_id: str, state_id: str) -> None:
        """Refuse in time: on a full disk a server neither stops cleanly nor starts again."""
        room = self._deps.room
        try:
            size = self._deps.files.usage(self._deps.files.instance_dir(instance_id))
        except OSError:
            size = 0  # deleted meanwhile, or damaged: that is told under the instance's lock
        room.make_room("prepare_instance", (state_id,), size)
        if room.exhausted():
            raise StorageFull(
                "the disk of the state store has no room for a snapshot: delete states or "
                "instances, or free disk space"
            )

    def _copy(self, instance: Instance, on_log: OnLog) -> Path:
        on_log(f"instance {instance.instance_id} stops to be copied")
        container = self._deps.files.instance_dir(instance.instance_id)
        workspace = None
        try:
            with self._stopped(instance, container, on_log):
                workspace = self._deps.files.clone_to_workspace(container)
        except BaseException:
            if workspace is not None:
                self._deps.files.discard(workspace)
            raise
        return workspace

    @contextmanager
    def _stopped(self, instance: Instance, container: Path, on_log: OnLog) -> Iterator[None]:
        server = self._deps.servers.server(instance.image_id, container)
        try:
            server.stop("fast")
            self._deps.ports.hold(instance.port)
            yield
        finally:
            self._lifecycle.restart(instance, server, on_log)

    def _forget_password(self, instance: Instance, workspace: Path) -> None:
        """Remove the instance's password from the copy.

        Not from the instance before the copy: a crash would leave it without. The settings
        are those of instances: slots and prepared transactions in the copy may need them.
        """
        server = self._deps.servers.server(instance.image_id, workspace)
        postmaster = server.start(port=None, settings=self._assembly.settings())
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
        )
        return self._deps.states.publish_durably(workspace, new)


def _new_state_id(parent_state_id: str) -> str:
    """Return the id of a state that no recipe describes: its step is a random number."""
    identity = {
        "format": FORMAT,
        "input": parent_state_id,
        "kind": KIND,
        "step": secrets.token_hex(32),
    }
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
