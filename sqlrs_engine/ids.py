"""The formats of ids: parsing, validation, generation.

* instance and job ids: 32 lower-case hexadecimal digits, random
* state ids: 64 lower-case hexadecimal digits, a SHA-256 of the content
* id prefixes in lookups: at least 8 hexadecimal digits, in either case
"""

import re
import secrets

from sqlrs_engine.errors import InvalidArgument

MIN_PREFIX_LENGTH = 8

_HEX = re.compile(r"[0-9a-f]+")
_RANDOM_ID = re.compile(r"[0-9a-f]{32}")
_STATE_ID = re.compile(r"[0-9a-f]{64}")


def new_id() -> str:
    """Return a random 32-hex id, as used for instances and jobs."""
    return secrets.token_hex(16)


def is_instance_id(text: str) -> bool:
    """Return whether ``text`` has the form of an instance id (letter case ignored)."""
    return _RANDOM_ID.fullmatch(text.lower()) is not None


def is_state_id(text: str) -> bool:
    """Return whether ``text`` has the form of a state id."""
    return _STATE_ID.fullmatch(text) is not None


def parse_prefix(text: str) -> str:
    """Return an id prefix in lower case.

    Raises InvalidArgument when it is shorter than 8 digits or not hexadecimal.
    """
    prefix = text.lower()
    if len(prefix) < MIN_PREFIX_LENGTH:
        raise InvalidArgument("invalid id_prefix", "id_prefix must be at least 8 hex characters")
    if _HEX.fullmatch(prefix) is None:
        raise InvalidArgument("invalid id_prefix", "id_prefix must be hex")
    return prefix
