"""Refuses what does not fit, after every possible eviction, with advice."""

from sqlrs_engine.dumps import UPLOAD
from sqlrs_engine.errors import CacheLimitTooSmall, StorageFull

from .accounts import Accounts
from .candidates import Rules
from .capacity import Limits, Need, Phase, Usage

_DUMP_LESS = "or dump less (--schema-only, --exclude-table-data)"


class Refused(StorageFull):
    """There is no room even after every possible eviction: a retry does not help."""


def check(
    accounts: Accounts, phase: Phase, usage: Usage, limits: Limits, need: Need, rules: Rules
) -> None:
    """Raise CacheLimitTooSmall or StorageFull when the need does not fit."""
    if limits.effective_max <= 0:
        raise CacheLimitTooSmall(
            "the reserve leaves no room for the cache: lower cache.capacity.reserveBytes",
            facts=accounts.facts(phase, usage, limits, need, rules),
        )
    if limits.max_bytes and usage.size_bytes + need.size_bytes > limits.max_bytes:
        numbers = accounts.facts(phase, usage, limits, need, rules)
        if phase == UPLOAD:
            raise Refused(
                "the dump does not fit into the cache: raise cache.capacity.maxBytes, delete "
                f"states, instances or dumps, {_DUMP_LESS}",
                facts=numbers,
            )
        if accounts.size_of(rules.protected) + need.size_bytes > limits.max_bytes:
            raise CacheLimitTooSmall(
                "the states of this prepare do not fit into the cache: raise "
                "cache.capacity.maxBytes",
                facts=numbers,
            )
        raise Refused(
            "the cache is full, and everything in it is in use or too young to be evicted: "
            "delete states or instances, or raise cache.capacity.maxBytes",
            facts=numbers,
        )
    if usage.disk.free < need.disk_bytes:
        numbers = accounts.facts(phase, usage, limits, need, rules)
        if phase == UPLOAD:
            raise Refused(
                "the disk of the state store has no room for the dump, and nothing can be "
                f"evicted: delete states or instances, free disk space, {_DUMP_LESS}",
                facts=numbers,
            )
        raise Refused(
            "the disk of the state store has no room for another copy, and nothing can be "
            "evicted: delete states or instances, or free disk space",
            facts=numbers,
        )
