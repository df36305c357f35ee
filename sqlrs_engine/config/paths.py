"""Paths into JSON: ``a.b[0].c``, and ``a["b.c"]`` for a key with a dot in it."""

import re
from collections.abc import Iterable
from typing import Any

from sqlrs_engine.errors import InvalidArgument, NotFound

Segments = list[str | int]

_MAX_LENGTH = 1000
_PLAIN_KEY = re.compile(r'[^.\[\]"\s]+')
_SEGMENT = re.compile(
    r"""(?P<dot>\.)?(?P<key>[^.\[\]"\s]+) | \[(?P<index>[0-9]+)\] | \["(?P<quoted>[^"]+)"\]""",
    re.VERBOSE,
)


def parse(path: str) -> Segments:
    """Split a path into its keys and indexes.

    Raises InvalidArgument when the path is empty or malformed.
    """
    text = path.strip()
    if not text:
        raise InvalidArgument("path is required")
    if len(text) > _MAX_LENGTH:
        raise _invalid(f"a path has at most {_MAX_LENGTH} characters: shorten it")
    segments: Segments = []
    position = 0
    while position < len(text):
        match = _SEGMENT.match(text, position)
        # Every key except the first follows a dot.
        if match is None or (match["key"] and bool(match["dot"]) != bool(segments)):
            raise _invalid(f"{text!r} is not a path such as log.level or a.b[0].c")
        index = match["index"]
        segments.append(int(index) if index else match["key"] or match["quoted"])
        position = match.end()
    if isinstance(segments[0], int):
        raise _invalid(
            f"{text!r} begins with an index, but the configuration is an object: begin with a key"
        )
    return segments


def join(segments: Iterable[str | int]) -> str:
    """Return the canonical text of a path's keys and indexes."""
    text = ""
    for segment in segments:
        if isinstance(segment, int):
            text += f"[{segment}]"
        elif _PLAIN_KEY.fullmatch(segment):
            text += f".{segment}" if text else segment
        else:
            text += f'["{segment}"]'
    return text


def lookup(tree: Any, segments: Segments) -> Any:
    """Return the value at a path. Raises NotFound when there is none."""
    for segment in segments:
        tree = _child(tree, segment)
    return tree


def assign(tree: dict[str, Any], segments: Segments, value: Any) -> None:
    """Set the value at a path, creating the objects and lists that lead to it.

    The index after a list's last appends to it. Raises InvalidArgument when something along the
    path is neither an object nor a list, or when an index is further out of range.
    """
    here: Any = tree
    for segment, following in zip(segments, [*segments[1:], None], strict=True):
        _check_container(here, segment)
        if following is None:
            _put(here, segment, value)
        elif not _has(here, segment):
            _put(here, segment, [] if isinstance(following, int) else {})
        here = here[segment]


def delete(tree: dict[str, Any], segments: Segments) -> None:
    """Remove the value at a path, but not its container. Raises NotFound."""
    parent = lookup(tree, segments[:-1])
    _child(parent, segments[-1])
    del parent[segments[-1]]


def _has(container: Any, segment: str | int) -> bool:
    if isinstance(segment, int):
        return isinstance(container, list) and segment < len(container)
    return isinstance(container, dict) and segment in container


def _child(container: Any, segment: str | int) -> Any:
    if not _has(container, segment):
        raise NotFound("path not found")
    return container[segment]


def _put(container: Any, segment: str | int, value: Any) -> None:
    if isinstance(container, list) and segment == len(container):
        container.append(value)
    else:
        container[segment] = value


def _check_container(container: Any, segment: str | int) -> None:
    if isinstance(segment, str) and not isinstance(container, dict):
        raise _invalid(f"{segment!r} has no object around it: set that object first")
    if isinstance(segment, int):
        if not isinstance(container, list):
            raise _invalid(f"[{segment}] has no list around it: set that list first")
        if segment > len(container):
            raise _invalid(
                f"[{segment}] is beyond the end of the list: the next free index is "
                f"[{len(container)}]"
            )


def _invalid(details: str) -> InvalidArgument:
    return InvalidArgument("invalid path", details)
