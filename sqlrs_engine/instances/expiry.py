"""Deadlines of instances: a time to live after the last activity.

An instance whose own time to live is not set has the configured one, unless it is named or
protected: then it does not expire. Every use of an instance by a client is activity.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Any, Final, Literal

from sqlrs_engine.clock import Clock, Timestamp, shift
from sqlrs_engine.config import Config
from sqlrs_engine.errors import InvalidArgument, NotFound
from sqlrs_engine.store import InstanceFilter, Store
from sqlrs_engine.store.records import Instance

DEFAULT_TTL = "instances.ttl"
LONGEST_TTL = 100 * 365 * 86400.0  # seconds; dates much later have no ISO format


class Unset(Enum):
    """The type of ``UNSET``, which leaves a field unchanged where None has a meaning."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
MaybeTtl = float | None | Literal[Unset.UNSET]
MaybeFlag = bool | Literal[Unset.UNSET]


def check_ttl(ttl: float | None) -> None:
    """Raise InvalidArgument unless ``ttl`` (seconds) is a valid time to live."""
    if ttl is not None and not 0 <= ttl <= LONGEST_TTL:
        raise InvalidArgument(
            "invalid ttl", "the time to live is 0 (forever) or at most 100 years (876000h)"
        )


class Expiry:
    """Keeps ``expires_at`` in the rows of instances up to date."""

    def __init__(self, store: Store, config: Config, clock: Clock) -> None:
        """Follow the configured time to live when it changes."""
        self._store = store
        self._config = config
        self._clock = clock
        self._writing = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        config.on_change(self._config_changed)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back after each change of a deadline, in the thread that made it."""
        self._listeners.append(callback)

    def ttl(self, instance: Instance) -> float:
        """Return how many seconds an instance lives without activity, 0 for no limit."""
        if instance.ttl is not None:
            return instance.ttl
        if instance.protected or instance.name is not None:
            return 0.0
        return min(max(self._config.seconds(DEFAULT_TTL), 0.0), LONGEST_TTL)

    def deadline(self, instance: Instance) -> Timestamp | None:
        """Return when an instance expires unless it is used before; None when it never does."""
        ttl = self.ttl(instance)
        return shift(instance.activity_at or instance.created_at, ttl) if ttl else None

    def add(self, instance: Instance) -> Instance:
        """Insert the row of a new instance with its deadline; return the record.

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

        ``ttl`` is in seconds: None for the configured one, 0 for never. Return the new record,
        None when the instance is gone. Raises InvalidArgument on an impossible ``ttl``.
        """
        if ttl is not UNSET:
            check_ttl(ttl)
            changes["ttl"] = ttl
        if protected is not UNSET:
            changes["protected"] = protected
        return self._update(instance_id, {**changes, "activity_at": self._clock()})

    def update(
        self, instance_id: str, *, ttl: MaybeTtl = UNSET, protected: MaybeFlag = UNSET
    ) -> Instance:
        """Change an instance's own time to live (see ``renew``) or its protection.

        Raises NotFound, InvalidArgument.
        """
        instance = self.renew(instance_id, ttl=ttl, protected=protected)
        if instance is None:
            raise NotFound.of("instance", instance_id)
        return instance

    def recompute(self, instance_id: str) -> Instance | None:
        """Compute a deadline again, without any activity."""
        return self._update(instance_id, {})

    def recompute_all(self) -> None:
        """Compute every deadline again."""
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

    def _config_changed(self, path: str) -> None:
        if DEFAULT_TTL.startswith(path) or path.startswith(DEFAULT_TTL):
            self.recompute_all()

    def _announce(self) -> None:
        for callback in self._listeners:
            callback()
