"""What to do about the errors of steps that have a known remedy."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlrs_engine.errors import StepFailed
from sqlrs_engine.postgres.base_recipe import BaseRecipe
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.command.step import SERVER_ERROR

from .role_advice import role_advice

if TYPE_CHECKING:
    from .extension_advice import ImagesWith

# What precedes the advice in the details, of steps that have their own, too.
ADVICE = "\nadvice: "

# English, because the engine's clusters have English messages. With VERBOSITY verbose, psql prints
# the SQLSTATE in front. Programs of command stages print errors as their drivers do: psycopg,
# lib/pq and node-postgres have their own ways.
_ERROR = re.compile(
    r"(?:\b(?:ERROR|FATAL|pq):|\bpsycopg2?\.errors\.\w+[:)]|^error:) +"
    r"(?:\w{5}: )?(?P<message>\S.*)",
    re.MULTILINE,
)


@contextmanager
def advised(
    base: BaseRecipe, distribution: Distribution, images_with: "ImagesWith"
) -> Iterator[None]:
    """Add advice to the details of a step that fails on a base state of this recipe."""
    try:
        yield
    except StepFailed as error:
        if ADVICE in (error.details or ""):
            raise
        found = advice_on(error.details or "", base, distribution, images_with)
        if found is None:
            raise
        advice, facts = found
        details = f"{error.details}{ADVICE}{advice}"
        raise StepFailed(error.message, details, facts=facts or error.facts) from error


def advice_on(
    details: str, base: BaseRecipe, distribution: Distribution, images_with: "ImagesWith"
) -> tuple[str, dict[str, Any]] | None:
    """Return what to do about the first error in the details of a failed step, and its facts.

    What the server said counts more than what a command prints. None means that nothing is known
    about it.
    """
    error = _ERROR.search(details, max(details.find(SERVER_ERROR), 0))
    if error is None:
        from .script_advice import archive_advice

        archive = archive_advice(details)
        return (archive, {}) if archive else None
    message = error["message"]
    if (advice := role_advice(message, base)) is not None:
        return advice, {}
    # They take milliseconds, which no engine's start should take.
    from .extension_advice import extension_advice
    from .object_advice import object_advice
    from .script_advice import script_advice
    from .server_advice import server_advice

    text = details[error.start("message") :]
    advice = (
        object_advice(message, distribution, images_with)
        or server_advice(text, distribution, images_with)
        or script_advice(text)
    )
    return (advice, {}) if advice else extension_advice(message, distribution, images_with)
