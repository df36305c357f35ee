"""What to do about roles that exist already, or do not exist."""

import json
import re
import shlex

from sqlrs_engine.postgres.base_recipe import ALWAYS, BaseRecipe
from sqlrs_engine.postgres.settings import SUPERUSER

_EXISTS = re.compile(r'role "(?P<role>.+)" already exists')
_REQUIRED = re.compile(r"cannot drop role (?P<role>\S+) because it is required by")
_DROPPED_ITSELF = "current user cannot be dropped"
_MISSING = re.compile(r'role "(?P<role>.+)" does not exist')

RESTORE = "sqlrs-engine prepare --dump FILE (in a request: a stage of the kind dump)"
"""What restores dumps, which expect more of a cluster than other scripts do."""


def role_advice(message: str, base: BaseRecipe) -> str | None:
    """Return what to do about an error of PostgreSQL, if it is about a role."""
    if found := _EXISTS.match(message) or _REQUIRED.match(message):
        return _on_existing(found["role"], base)
    if message.startswith(_DROPPED_ITSELF):
        return _on_existing(SUPERUSER, base)
    if found := _MISSING.match(message):
        return _on_missing(found["role"], base)
    return None


def _on_existing(role: str, base: BaseRecipe) -> str | None:
    if role in ALWAYS:
        why = f"the role {role} exists in every state"
    elif role in base.roles:
        why = f"the role {role} is one of postgres.roles, so it exists in every state"
    else:
        return None
    return (
        f"{why}: leave its CREATE ROLE (and DROP ROLE) out of the script, or restore the output of "
        f"pg_dumpall with {RESTORE}, which does that"
    )


def _on_missing(role: str, base: BaseRecipe) -> str:
    roles = json.dumps([*base.roles, role], ensure_ascii=False)
    return (
        f"create the role {role} in a step before, restore a dump with {RESTORE}, which creates "
        "its roles, or add the role to postgres.roles in the configuration, which makes it part of "
        f"every state: sqlrs-engine config set postgres.roles {shlex.quote(roles)}"
    )
