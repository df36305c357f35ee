"""The download of an extension for want of which a step has failed."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlrs_engine.errors import ImageUnavailable, StepFailed, Unavailable
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.job_context import JobContext

T = TypeVar("T")


class Fetcher(Protocol):
    """Downloads extensions."""

    def fetch_extension(self, extension: str, distribution: Distribution, work: JobContext) -> bool:
        """Download an extension; return False when no download would bring it.

        Raises ImageUnavailable or Unavailable when it would, and cannot be had.
        """


def with_extension(
    build: Callable[[], T], fetcher: Fetcher, distribution: Distribution, context: JobContext
) -> T:
    """Build and return the result; if a step lacks an extension that can be had, build once more.

    Raises what ``build`` raises. The details of a StepFailed have the reason if the download fails.
    """
    try:
        return build()
    except StepFailed as error:
        if not _fetched(error, fetcher, distribution, context):
            raise
    context.log("running the step again")
    return build()


def _fetched(
    error: StepFailed, fetcher: Fetcher, distribution: Distribution, context: JobContext
) -> bool:
    extension = (error.facts or {}).get("extension")
    if extension is None:
        return False
    try:
        return fetcher.fetch_extension(extension, distribution, context)
    except (ImageUnavailable, Unavailable) as reason:
        details = f"{error.details}\n{reason}"
        raise StepFailed(error.message, details, facts=error.facts) from error
