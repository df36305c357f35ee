"""Text of requests that is passed on to programs or names files."""

from sqlrs_engine.errors import InvalidArgument


def check_text(text: str) -> None:
    """Raise InvalidArgument for text that no argument, variable or path can have."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            "the command has a character that is not in UTF-8: correct it", repr(text)
        ) from error
    if "\0" in text:
        raise InvalidArgument("the command has a NUL character: remove it", repr(text))
