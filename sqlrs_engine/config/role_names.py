"""The names of roles that ``postgres.roles`` must not contain."""

MAX_BYTES = 63  # PostgreSQL cuts longer ones: NAMEDATALEN - 1

# PostgreSQL refuses to create these, and those with the prefix (``IsReservedName``).
_RESERVED = ("none", "public")
_RESERVED_PREFIX = "pg_"

EXISTING = ("postgres", "sqlrs")
"""The roles of every state."""


def problem(name: str) -> str | None:
    """Return why no role can be created with this name, None if it is good."""
    if name in EXISTING:
        return f"the role {name} exists in every state: leave it out"
    if name in _RESERVED or name.startswith(_RESERVED_PREFIX):
        return f"PostgreSQL reserves the name {name}: choose another"
    if len(name.encode()) > MAX_BYTES:
        return f"PostgreSQL's names have at most {MAX_BYTES} bytes: shorten {name}"
    return None
