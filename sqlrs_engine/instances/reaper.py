"""Removes expired instances; sleeps until the next one may expire."""

import logging
import threading

from sqlrs_engine.clock import Timestamp, seconds_between, shift
from sqlrs_engine.errors import EngineError
from sqlrs_engine.store import InstanceFilter
from sqlrs_engine.store.records import Instance

from .removal import Removal
from .services import Services
from .usage import Usage

LONGEST_SLEEP = 60.0  # seconds; a waiting thread does not notice when the wall clock jumps
RETRY_AFTER = 60.0  # seconds until a removal that failed is tried again

_MARGIN = 30.0
_MARGIN_SHARE = 0.1

_log = logging.getLogger(__name__)


class Reaper:
    """Reads the use of instances near their deadline and removes the idle ones.

    The first reading comes shortly before the deadline, so that an instance in use is never
    shown as expired.
    """

    def __init__(self, services: Services, removal: Removal, usage: Usage) -> None:
        self._services = services
        self._removal = removal
        self._usage = usage
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._not_before: dict[str, Timestamp] = {}
        services.expiry.on_change(self._wake.set)

    def start(self) -> None:
        """Remove instances as they expire, in the background, until ``stop``."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the background thread after the removal under way."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def reap(self) -> list[str]:
        """Remove the instances that have expired; return their ids."""
        rows = self._services.store.instances.find(InstanceFilter())
        known = {row.instance_id for row in rows}
        self._not_before = {k: v for k, v in self._not_before.items() if k in known}
        removed = []
        for row in rows:
            if self._stopping.is_set():
                break
            due = self._due(row)
            if due is not None and due <= self._services.clock() and self._reap(row.instance_id):
                removed.append(row.instance_id)
        return removed

    def next_due(self) -> Timestamp | None:
        """Return when to look at an instance next, None when none ever expires."""
        dues = (self._due(row) for row in self._services.store.instances.find(InstanceFilter()))
        return min((due for due in dues if due is not None), default=None)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self.reap()
                sleep = self._sleep()
            except Exception:
                # The thread lives on.
                _log.exception("cannot look for expired instances: trying again in a minute")
                sleep = LONGEST_SLEEP
            self._wake.wait(sleep)

    def _sleep(self) -> float:
        due = self.next_due()
        if due is None:
            return LONGEST_SLEEP
        return min(max(seconds_between(self._services.clock(), due), 0.001), LONGEST_SLEEP)

    def _due(self, row: Instance) -> Timestamp | None:
        if row.expires_at is None:
            return None
        margin = min(self._services.expiry.ttl(row) * _MARGIN_SHARE, _MARGIN)
        due = shift(row.expires_at, -margin)
        return max(due, self._not_before.get(row.instance_id, due))

    def _reap(self, instance_id: str) -> bool:
        """Renew, defer or remove an instance that is due; return whether it was removed."""
        try:
            with self._services.locks.hold(instance_id):
                row = self._services.expiry.recompute(instance_id)
                if row is None or row.expires_at is None:
                    return False
                _, used = self._usage.observe(row)
                if used:
                    return False
                if self._services.clock() < row.expires_at:
                    self._not_before[instance_id] = row.expires_at
                    return False
                _log.info("instance %s has expired", instance_id)
                return self._removal.remove(instance_id)
        except (EngineError, OSError):
            _log.exception("cannot remove the expired instance %s", instance_id)
            self._not_before[instance_id] = shift(self._services.clock(), RETRY_AFTER)
            return False
