"""Filters of list calls; None matches any value. Prefixes match in any case."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NameFilter:
    """Names by the exact id of their instance, state or image."""

    instance_id: str | None = None
    state_id: str | None = None
    image_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFilter:
    """Instances by exact state, image or purpose, or by a prefix of their id."""

    state_id: str | None = None
    image_id: str | None = None
    made_for: str | None = None
    made_for_prefix: str | None = None
    id_prefix: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFilter:
    """States by exact kind, image or parent, or by a prefix of their id."""

    prepare_kind: str | None = None
    image_id: str | None = None
    parent_state_id: str | None = None
    id_prefix: str | None = None
