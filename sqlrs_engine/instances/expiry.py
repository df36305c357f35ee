"""When instances expire: their time to live after the last activity.

An instance without a time to live of its own has the configured one, unless it is named
or protected: then it does not expire. Whatever a user does to an instance is activity.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Any, Final, Literal

from sqlrs_engine.clock import Clock, Timestamp, shift
from sqlrs_engine.config import Config
from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.store import InstanceFilter, Store
from sqlrs_engine.store.records import Instance

DEFAULT_TTL = "instances.ttl"
LONGEST_TTL = 100 * 365 * 86400.0  # seconds; later dates have no use and soon no format


class Unset(Enum):
    """The type of ``UNSET``, which leaves a field as it is where None has a meaning."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
MaybeTtl = float | None | Literal[Unset.UNSET]
MaybeFlag = bool | Literal[Unset.UNSET]


def check_ttl(ttl: float | None) -> None:
    """Raise InvalidArgument unless ``ttl`` (seconds) can be an instance's."""
    if ttl is not None and not 0 <= ttl <= LONGEST_TTL:
        raise InvalidArgument(
            "invalid ttl", "the time to live is 0 (forever) or at most 100 years (876000h)"
        )


class Expiry:
    """Keeps ``expires_at`` of the instances' rows right."""

    def __init__(self, store: Store, config: Config, clock: Clock) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._writing = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back, in the thread of the change, whenever a deadline is set or has moved."""
        self._listeners.append(callback)

    def ttl(self, instance: Instance) -> float:
        """Return the seconds an instance lives without activity, 0 for never."""
        if instance.ttl is not None:
            return instance.ttl
        if instance.protected or instance.name is not None:
            return 0.0
        return min(max(self._config.seconds(DEFAULT_TTL), 0.0), LONGEST_TTL)

    def deadline(self, instance: Instance) -> Timestamp | None:
        """Return when an instance expires unless it is used before; None for never."""
        ttl = self.ttl(instance)
        return shift(instance.activity_at or instance.created_at, ttl) if ttl else None

    def add(self, instance: Instance) -> Instance:
        """Insert the row of a new instance, its deadline filled in, and return the record.

        Raises what ``InstanceStore.add`` raises.
        """
        instance = replace(instance, expires_at=self.deadline(instance))
        self._store.instances.add(instance)
        self._announce()
        return instance

    def renew(
        self,
        instance_id: str,
        *,
        ttl: MaybeTtl = UNSET,
        protected: MaybeFlag = UNSET,
        **changes: Any,
    ) -> Instance | None:
        """Record activity now, together with other changes of the row.

        Returns the new record, None when the instance is gone. Raises InvalidArgument on
        an impossible ``ttl``.
        """
        if ttl is not UNSET:
            check_ttl(ttl)
            changes["ttl"] = ttl
        if protected is not UNSET:
            changes["protected"] = protected
        return self._update(instance_id, {**changes, "activity_at": self._clock()})

    def recompute(self, instance_id: str) -> Instance | None:
        """Work out the deadline again, without any activity."""
        return self._update(instance_id, {})

    def recompute_all(self) -> None:
        """Work out every deadline again: the configured time to live has changed."""
        for instance in self._store.instances.find(InstanceFilter()):
            self.recompute(instance.instance_id)

    def _update(self, instance_id: str, changes: dict[str, Any]) -> Instance | None:
        with self._writing:
            instance = self._store.instances.get(instance_id)
            if instance is None:
                return None
            deadline = self.deadline(replace(instance, **changes))
            if changes or deadline != instance.expires_at:
                changes = {**changes, "expires_at": deadline}
                instance = self._store.instances.update(instance_id, **changes)
        self._announce()
        return instance

    def _announce(self) -> None:
        for callback in self._listeners:
            callback()
