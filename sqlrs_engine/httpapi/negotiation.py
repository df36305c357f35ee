"""Which media type to answer with: JSON, or NDJSON for who asks for it."""

from collections.abc import Sequence

from sqlrs_engine.errors import NotAcceptable
from sqlrs_engine.stream import MEDIA_TYPE as NDJSON

JSON = "application/json"


def choose(accept: bytes | None, produced: Sequence[str]) -> str:
    """Return one of ``produced``, the first being the default.

    NDJSON is chosen whenever ``Accept`` names it; wildcards mean the default. So does JSON,
    which every operation's errors are: clients made by generators ask for that alone.

    Raises NotAcceptable when the header admits none.
    """
    if accept is None or not produced:
        return produced[0] if produced else JSON
    admitted = _admitted(accept)
    if NDJSON in admitted and NDJSON in produced:
        return NDJSON
    for media_type in produced:
        if not admitted.isdisjoint((media_type, "application/*", "*/*")):
            return media_type
    if JSON in admitted:
        return produced[0]
    raise NotAcceptable("no acceptable media type", f"accept one of {', '.join(produced)}")


def _admitted(accept: bytes) -> set[str]:
    """Return the media ranges of a header whose weight is not zero; all when it is empty."""
    admitted = set()
    for item in accept.decode("latin-1").lower().split(","):
        media_range, *parameters = (part.strip() for part in item.split(";"))
        weights = [p[2:] for p in parameters if p.startswith("q=")]
        if media_range and not (weights and not weights[0].strip("0.")):
            admitted.add(media_range)
    return admitted if accept.strip() else {"*/*"}
