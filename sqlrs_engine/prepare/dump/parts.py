"""The division of a restore into runs of pg_restore."""

from dataclasses import dataclass

from .archive import Entry
from .options import RestoreOptions

_PASSES_ON = "SET SESSION AUTHORIZATION"
_LATE = (
    "ACL",
    "ACL LANGUAGE",
    "DEFAULT ACL",
    "EVENT TRIGGER",
    "MATERIALIZED VIEW DATA",
    "STATISTICS DATA",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A run of pg_restore: its parallel jobs, and the objects, None for all that are selected."""

    jobs: int
    numbers: tuple[int, ...] | None = None


def parts(entries: list[Entry], options: RestoreOptions, jobs: int) -> list[Part]:
    """Divide a restore so that privileges that depend on each other are granted in order.

    A role that grants on what it does not own may need a privilege of its own first, such as that
    of the schema; parallel jobs of pg_restore grant in any order.
    """
    passed_on = any(_PASSES_ON in each.definition for each in entries if each.kind == "ACL")
    if jobs == 1 or not passed_on:
        return [Part(jobs=jobs)]
    if options.has("clean") or options.has("create"):
        return [Part(jobs=1)]  # a second run would drop or create again
    main = tuple(each.number for each in entries if not _is_late(each))
    late = tuple(each.number for each in entries if _is_late(each))
    return [Part(jobs=jobs, numbers=main), Part(jobs=1, numbers=late)]


def _is_late(entry: Entry) -> bool:
    """Return whether pg_restore grants privileges with an entry, or restores it after that.

    Source: ``_tocEntryRestorePass`` of ``pg_backup_archiver.c``.
    """
    return entry.kind in _LATE or (
        entry.kind in ("COMMENT", "SECURITY LABEL") and entry.name.startswith("EVENT TRIGGER ")
    )
