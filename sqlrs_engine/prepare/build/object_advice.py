"""What to do about objects of extensions that no script has created."""

import re
import shlex

from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.postgres.distributions.extension_objects import KINDS, extension_with

from .extension_advice import ImagesWith, extension_advice

_MISSING = re.compile(
    rf'(?P<kind>{"|".join(KINDS)}) "?(?:(?P<schema>[^".(\s]+)\.)?(?P<name>[^".(\s]+)"?(?:\(.*\))? '
    "does not exist"
)
_NO_DEFAULT = re.compile(
    r"data type (?P<type>.+) has no default operator class for access method "
    r'"(?P<method>gin|gist)"'
)
_PLAIN_SCHEMAS = (None, "public", "pg_catalog")


def object_advice(message: str, distribution: Distribution, images_with: ImagesWith) -> str | None:
    """Return what to do about an error of PostgreSQL, if an extension creates what is missing."""
    if found := _MISSING.match(message):
        kind, name, schema = found["kind"], found["name"], found["schema"]
        extension = extension_with(kind, name)
        what = f"the {kind} {name} comes with"
    elif found := _NO_DEFAULT.match(message):
        extension, schema = f"btree_{found['method']}", None
        what = f"indexes of the method {found['method']} on {found['type']} need"
    else:
        return None
    if extension is None:
        return None
    statement = f"CREATE EXTENSION IF NOT EXISTS {_identifier(extension)}"
    if schema not in _PLAIN_SCHEMAS:
        statement = f"CREATE SCHEMA IF NOT EXISTS {schema}; {statement} SCHEMA {schema}"
    advice = (
        f"{what} the extension {extension}: create it before this step "
        f"(-c {shlex.quote(statement)})"
    )
    if extension in distribution.extensions:
        return advice
    missing = extension_advice(
        f'extension "{extension}" is not available', distribution, images_with
    )
    return f"{advice}; {missing[0]}" if missing else advice


def _identifier(extension: str) -> str:
    return f'"{extension}"' if "-" in extension else extension
