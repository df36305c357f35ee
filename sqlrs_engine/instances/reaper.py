"""Removes instances that have expired; sleeps until the next one may have."""

import logging
import threading

from sqlrs_engine.clock import Timestamp, seconds_between, shift
from sqlrs_engine.errors import EngineError
from sqlrs_engine.store import InstanceFilter
from sqlrs_engine.store.records import Instance

from .lifecycle import Lifecycle
from .services import Services
from .usage import Usage

LONGEST_SLEEP = 60.0  # seconds; the wall clock may jump, a waiting thread does not notice
RETRY_AFTER = 60.0  # seconds until a removal that failed is tried again

_MARGIN = 30.0
_MARGIN_SHARE = 0.1

_log = logging.getLogger(__name__)


class Reaper:
    """Asks instances near their deadline whether they are used, removes the idle ones.

    The first question comes shortly before the deadline, so that an instance in use is
    never shown as expired.
    """

    def __init__(self, deps: Services, lifecycle: Lifecycle, activity: Usage) -> None:
        self._deps = deps
        self._lifecycle = lifecycle
        self._activity = activity
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._not_before: dict[str, Timestamp] = {}
        deps.expiry.on_change(self._wake.set)

    def start(self) -> None:
        """Reap in a background thread until ``stop``."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the background thread; a removal under way is finished first."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def reap(self) -> list[str]:
        """Look at every instance that is due; return the ids of those removed."""
        rows = self._deps.store.instances.find(InstanceFilter())
        known = {row.instance_id for row in rows}
        self._not_before = {k: v for k, v in self._not_before.items() if k in known}
        removed = []
        for row in rows:
            if self._stopping.is_set():
                break
            due = self._due(row)
            if due is not None and due <= self._deps.clock() and self._reap(row.instance_id):
                removed.append(row.instance_id)
        return removed

    def next_due(self) -> Timestamp | None:
        """Return when an instance must be looked at next, None when none ever expires."""
        dues = (self._due(row) for row in self._deps.store.instances.find(InstanceFilter()))
        return min((due for due in dues if due is not None), default=None)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self.reap()
                sleep = self._sleep()
            except Exception:
                _log.exception("cannot look for expired instances, trying again")
                sleep = LONGEST_SLEEP
            self._wake.wait(sleep)

    def _sleep(self) -> float:
        due = self.next_due()
        if due is None:
            return LONGEST_SLEEP
        return min(max(seconds_between(self._deps.clock(), due), 0.001), LONGEST_SLEEP)

    def _due(self, row: Instance) -> Timestamp | None:
        if row.expires_at is None:
            return None
        margin = min(self._deps.expiry.ttl(row) * _MARGIN_SHARE, _MARGIN)
        due = shift(row.expires_at, -margin)
        return max(due, self._not_before.get(row.instance_id, due))

    def _reap(self, instance_id: str) -> bool:
        """Renew, put off or remove an instance that is due; say whether it is removed."""
        try:
            with self._deps.locks.hold(instance_id):
                row = self._deps.expiry.recompute(instance_id)
                if row is None or row.expires_at is None:
                    return False
                _, used = self._activity.observe(row)
                if used:
                    return False
                if self._deps.clock() < row.expires_at:
                    self._not_before[instance_id] = row.expires_at
                    return False
                _log.info("instance %s has expired", instance_id)
                return self._lifecycle.remove(instance_id)
        except (EngineError, OSError):
            _log.exception("cannot remove the expired instance %s", instance_id)
            self._not_before[instance_id] = shift(self._deps.clock(), RETRY_AFTER)
            return False
