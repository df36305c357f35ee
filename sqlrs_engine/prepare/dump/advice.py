"""What to do about errors that restores have, and other steps do not."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlrs_engine.errors import StepFailed

from .options import RestoreOptions

_NO_ROLE = re.compile(r'ERROR: +role "(?P<name>.+)" does not exist')
_NO_SCHEMA = re.compile(r'ERROR: +schema "(?P<name>.+)" does not exist')
# The words of psql, in English: the error is of \i or \copy.
_NO_FILE = re.compile(r"^error: .+: No such file or directory$", re.MULTILINE)
_SELECTING = ("schema", "table", "data-only", "section", "index", "function", "trigger")


@contextmanager
def advised(options: RestoreOptions, *, is_plain: bool, create_roles: bool) -> Iterator[None]:
    """Add advice to the details of a restore that fails."""
    try:
        yield
    except StepFailed as error:
        advice = _advice(error.details or "", options, is_plain, create_roles)
        if advice is None:
            raise
        raise StepFailed(error.message, f"{error.details}\nadvice: {advice}") from error


def _advice(
    details: str, options: RestoreOptions, is_plain: bool, create_roles: bool
) -> str | None:
    if not create_roles and (found := _NO_ROLE.search(details)):
        without = "make the dump" if is_plain else "restore"
        return (
            f"have the engine create {found['name']} (create_roles: true, the default), create it "
            f"in a stage before, or {without} with --no-owner and --no-privileges"
        )
    if is_plain and _NO_FILE.search(details):
        return (
            "no other files are looked for in a dump: prepare a script that includes files with -f "
            "instead of --dump (a psql stage)"
        )
    selects = any(options.has(name) for name in _SELECTING)
    if selects and (found := _NO_SCHEMA.search(details)):
        name = found["name"]
        return (
            "pg_restore creates the selected objects, but not the schema that they are in: "
            f"CREATE SCHEMA {name} in a psql stage before, or restore without the selection"
        )
    return None
