"""What to do when pg_dump fails, by what it prints in English."""

import re
from collections.abc import Sequence

from sqlrs_engine.errors import DumpFailed

_ERRORS = ("pg_dump: error: ", "pg_dump: detail: ", "pg_dump: hint: ")
_LINES = 12
_LINE_CHARS = 1000

_DENIED = re.compile(
    r"permission denied for (?P<kind>table|relation|sequence|view|materialized view|schema"
    r"|foreign table|foreign server|large object|function|type) (?P<name>.+)"
)
_ROW_SECURITY = re.compile(
    r"query would be affected by row-level security policy for table (?P<name>.+)"
)
_EXCLUDE = {"schema": "--exclude-schema"}
_FURTHER: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"no matching (table|schema)s were found"),
        "a pattern matches nothing: check --table and --schema",
    ),
    (
        re.compile(r"conflict with recovery"),
        "the server is a standby that could not wait for pg_dump: dump the primary, or raise "
        "max_standby_streaming_delay on the standby",
    ),
    (
        re.compile(r"sslmode value .* SSL support is not compiled in"),
        "this pg_dump cannot encrypt its connection: run sqlrs-engine postgres install",
    ),
    (
        re.compile(r"server closed the connection unexpectedly|could not receive data from server"),
        "the server ended the connection: look at its log, then import again",
    ),
    (
        re.compile(r"could not obtain lock|lock timeout|deadlock detected"),
        "another session holds a lock: import again when it has ended",
    ),
)


def failure(code: int, lines: Sequence[str]) -> DumpFailed:
    """Return the error for the exit code and the output of a pg_dump that failed."""
    said = [line[:_LINE_CHARS] for line in lines if line.startswith(_ERRORS)] or list(lines)
    text = "\n".join(said[-_LINES:]) or f"exit code {code}"
    return DumpFailed(f"pg_dump failed: {_advice(text)}", text)


def _advice(text: str) -> str:
    if denied := _DENIED.search(text):
        kind, name = denied["kind"], denied["name"].strip()
        option = _EXCLUDE.get(kind, "--exclude-table")
        role = "use a role that may read it (GRANT pg_read_all_data TO …)"
        if kind == "large object":
            return f"large object {name} may not be read: {role}, or leave out data: --schema-only"
        return f"{kind} {name} may not be read: leave it out ({option}={_quoted(name)}), or {role}"
    if hidden := _ROW_SECURITY.search(text):
        name = hidden["name"].strip().strip('"')
        return (
            f"policies hide rows of table {name}: use its owner or a role with BYPASSRLS, or leave "
            f"out its data (--exclude-table-data={_quoted(name)})"
        )
    return next(
        (advice for pattern, advice in _FURTHER if pattern.search(text)),
        "its message says why",
    )


def _quoted(name: str) -> str:
    """Return a name as a pattern for a shell."""
    return name if re.fullmatch(r"[a-z0-9_]+", name) else f"'\"{name}\"'"
