"""The recipe of base states, beyond the distribution: roles and a locale.

The *base id* is the start of the ids of all states of a base state. It says what the base state
contains; the image id says which programs made it, and these run the states for as long as they
exist, whatever the configuration has become.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from .distributions.distribution import Distribution
from .settings import BOOTSTRAP_SUPERUSER, SUPERUSER

FORMAT = 2
"""Raised whenever base states are made in another way.

Format 1 had no role but the engine's superuser, and no base ids: its states have ids that start
from the image id.
"""

ALWAYS = (SUPERUSER, BOOTSTRAP_SUPERUSER)
"""The roles of every base state."""

# As ``initdb`` makes its superuser.
_SUPERUSER_OPTIONS = "SUPERUSER CREATEDB CREATEROLE LOGIN REPLICATION BYPASSRLS"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRecipe:
    """The roles (sorted) of a base state besides those of every one, and its locale.

    ``locale`` is a name of the C library's. None means the distribution's own or, if that has none,
    the locale that needs no C library or is in every one.
    """

    roles: tuple[str, ...] = ()
    locale: str | None = None

    @classmethod
    def of(cls, roles: Iterable[str] | None, locale: str | None) -> "BaseRecipe":
        """Return the recipe for configured values, with the roles in the order that counts."""
        return cls(roles=tuple(sorted(roles or ())), locale=locale)

    def on(self, distribution: Distribution) -> "BaseRecipe":
        """Return the recipe for a distribution, which may have a locale of its own."""
        return replace(self, locale=self.locale or distribution.locale)

    def base_id(self, image_id: str) -> str:
        """Return the id of the base state that this recipe makes of an image: 64 hex digits."""
        identity = {"format": FORMAT, "image": image_id, **self.to_json()}
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as JSON."""
        return {"roles": list(self.roles), "locale": self.locale}

    def statements(self) -> list[str]:
        """Return the statements, each on a line, that create the roles besides ``initdb``'s."""
        return [
            f"CREATE ROLE {SUPERUSER} {_SUPERUSER_OPTIONS}",
            *(f"CREATE ROLE {_quoted(name)} LOGIN" for name in self.roles),
        ]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
