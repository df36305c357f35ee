"""The standard input of psql: text, in which lone surrogates stand for bytes that are not UTF-8.

They are those of PEP 383. JSON cannot hold them, so such an input travels as ``stdin_base64``.
"""

import base64

from sqlrs_engine.errors import InvalidArgument


def from_json(text: str | None, encoded: str | None) -> str | None:
    """Return the input that ``stdin`` or ``stdin_base64`` give, None without one.

    Raises InvalidArgument.
    """
    if encoded is None:
        return text
    if text is not None:
        raise InvalidArgument("stdin and stdin_base64 exclude each other", "send one of them")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise InvalidArgument("stdin_base64 is not base64", str(error)) from error
    if b"\0" in raw:
        raise InvalidArgument("stdin_base64 contains a NUL character: remove it")
    return from_bytes(raw)


def from_bytes(raw: bytes) -> str:
    """Return an input as text."""
    return raw.decode("utf-8", "surrogateescape")


def to_json(text: str | None) -> dict[str, str]:
    """Return the field that gives an input: ``stdin``, or ``stdin_base64`` if it is not UTF-8."""
    if text is None:
        return {}
    raw = text.encode("utf-8", "surrogateescape")
    try:
        decoded = raw.decode()
    except UnicodeDecodeError:
        return {"stdin_base64": base64.b64encode(raw).decode()}
    # The same object where possible: it may be megabytes, and queued jobs hold both.
    return {"stdin": text if text == decoded else decoded}
