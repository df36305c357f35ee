"""Makes standbys."""

from sqlrs_engine import ids
from sqlrs_engine.errors import NotFound, StorageFull
from sqlrs_engine.instances.provisioner import Provisioner
from sqlrs_engine.instances.services import Services
from sqlrs_engine.store.records import State

from .limits import Limits
from .standbys import PendingStandby, Standby, Standbys


class Abandoned(Exception):  # noqa: N818  (not an error: the standby is not needed any more)
    """The standby that is being made is no longer needed."""


class StandbyMaker:
    """Clones a state, starts a server on the clone, and puts it among the standbys."""

    def __init__(
        self, services: Services, provisioner: Provisioner, limits: Limits, standbys: Standbys
    ) -> None:
        self._services = services
        self._provisioner = provisioner
        self._limits = limits
        self._standbys = standbys

    def make(self, pending: PendingStandby) -> None:
        """Make a standby for the thread that waits for it, or for the pool.

        Remove it again when neither needs it any longer. Raises Abandoned when that is known before
        its server starts, StorageFull when the disk has no room for standbys, and what
        ``Provisioner.make`` raises.
        """
        made = unwanted = None
        with self._services.leases.borrow(pending.state_id) as borrowed:
            try:
                made = self._made(pending) if borrowed else None
            finally:
                unwanted = self._standbys.settle(pending, made)
        if unwanted is not None:
            self._provisioner.discard(unwanted.clone)

    def _made(self, pending: PendingStandby) -> Standby:
        def before_start() -> None:
            if pending.cancelled:
                raise Abandoned

        state = self._state(pending.state_id)
        if not self._services.disk_budget.has_room(state.size_bytes or 0):
            raise StorageFull("the disk has no room for standbys")
        instance_id = ids.new_id()
        with self._services.locks.hold(instance_id):
            clone = self._provisioner.make(instance_id, state, before_start)
        try:
            memory_bytes = self._limits.measure(int(clone.started.runtime_id.partition(".")[0]))
        except BaseException:
            self._provisioner.discard(clone)
            raise
        return Standby(clone, memory_bytes)

    def _state(self, state_id: str) -> State:
        state = self._services.store.states.get(state_id)
        if state is None or not self._services.states.exists(state_id):
            raise NotFound.of("state", state_id)
        return state
