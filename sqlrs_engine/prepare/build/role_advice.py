"""What to do about roles that exist already, or do not exist."""

import json
import re
import shlex

from sqlrs_engine.postgres.base_recipe import ALWAYS, BaseRecipe

_EXISTS = re.compile(r'role "(?P<role>.+)" already exists')
_REQUIRED = re.compile(r"cannot drop role (?P<role>\S+) because it is required by")
_MISSING = re.compile(r'role "(?P<role>.+)" does not exist')

_LINES = "^(CREATE ROLE|DROP ROLE( IF EXISTS)?)"


def role_advice(message: str, base: BaseRecipe) -> str | None:
    """Return what to do about an error of PostgreSQL, if it is about a role."""
    if found := _EXISTS.match(message) or _REQUIRED.match(message):
        return _on_existing(found["role"], base)
    if found := _MISSING.match(message):
        return _on_missing(found["role"], base)
    return None


def _on_existing(role: str, base: BaseRecipe) -> str | None:
    if role in ALWAYS:
        return (
            f"the role {role} exists in every state: leave its CREATE ROLE (and DROP ROLE) "
            f"out of the script; for the output of pg_dumpall: grep -vE '{_LINES} {role};'"
        )
    if role in base.roles:
        return (
            f"the role {role} is one of postgres.roles in the configuration, so it exists "
            "in every state: leave its CREATE ROLE out of the script, or remove it from "
            "postgres.roles"
        )
    return None


def _on_missing(role: str, base: BaseRecipe) -> str:
    roles = json.dumps([*base.roles, role], ensure_ascii=False)
    return (
        f"create the role {role} in a step before, or add it to postgres.roles in the "
        "configuration, which makes it part of every state: sqlrs-engine config set postgres.roles "
        f"{shlex.quote(roles)}"
    )
