"""What to do about the errors of steps that have a known remedy: roles that exist, or do not."""

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from sqlrs_engine.errors import StepFailed
from sqlrs_engine.postgres.base_recipe import ALWAYS, BaseRecipe

# English, because the engine's clusters have English messages. With VERBOSITY verbose, psql prints
# the SQLSTATE in front.
_ERROR = re.compile(r"\b(?:ERROR|FATAL): +(?:\w{5}: )?(?P<message>\S.*)")
_EXISTS = re.compile(r'role "(?P<role>.+)" already exists')
_REQUIRED = re.compile(r"cannot drop role (?P<role>\S+) because it is required by")
_MISSING = re.compile(r'role "(?P<role>.+)" does not exist')

_LINES = "^(CREATE ROLE|DROP ROLE( IF EXISTS)?)"


@contextmanager
def advised(base: BaseRecipe) -> Iterator[None]:
    """Add advice to the details of a step that fails on a base state of this recipe."""
    try:
        yield
    except StepFailed as error:
        advice = advice_on(error.details or "", base)
        if advice is None:
            raise
        raise StepFailed(error.message, f"{error.details}\n{advice}") from error


def advice_on(details: str, base: BaseRecipe) -> str | None:
    """Return what to do about the first error in the details of a failed step, if that is known."""
    error = _ERROR.search(details)
    if error is None:
        return None
    if found := _EXISTS.match(error["message"]):
        return _on_existing(found["role"], base)
    if found := _REQUIRED.match(error["message"]):
        return _on_existing(found["role"], base)
    if found := _MISSING.match(error["message"]):
        return _on_missing(found["role"], base)
    return None


def _on_existing(role: str, base: BaseRecipe) -> str | None:
    if role in ALWAYS:
        return (
            f"advice: the role {role} exists in every state: leave its CREATE ROLE (and DROP ROLE) "
            f"out of the script; for the output of pg_dumpall: grep -vE '{_LINES} {role};'"
        )
    if role in base.roles:
        return (
            f"advice: the role {role} is one of postgres.roles in the configuration, so it exists "
            "in every state: leave its CREATE ROLE out of the script, or remove it from "
            "postgres.roles"
        )
    return None


def _on_missing(role: str, base: BaseRecipe) -> str:
    roles = json.dumps([*base.roles, role], ensure_ascii=False)
    return (
        f"advice: create the role {role} in a step before, or add it to postgres.roles in the "
        "configuration, which makes it part of every state: sqlrs config set postgres.roles "
        f"{shlex.quote(roles)}"
    )
