"""Absolute paths in programs and libraries, redirected to wherever the image lies.

A program of an image runs with an open descriptor of the directory ``links``. A path such as
``/usr/share/zoneinfo``, compiled into the program, is overwritten by a path of the same length that
leads through this descriptor, such as ``/proc/self/fd/9///z``, where ``z`` is a link. The same goes
for the loader that a program names, and for the cache of libraries that the loader reads. So
nothing depends on the place of the image, no variable leaks into other programs, and programs keep
their names.
"""

import re

LINKS_DESCRIPTOR = 9
CACHE_DESCRIPTOR = 8
LINKS = f"/proc/self/fd/{LINKS_DESCRIPTOR}"

_CACHE = f"proc/self/fd/{CACHE_DESCRIPTOR}".encode()
_CACHE_NAME = re.compile(rb"(?<=\0)/[\x21-\x7e]*/ld\.so\.cache(?=\0)")


def redirect(content: bytearray, directory: str, link: str) -> bool:
    """Replace a directory by a link in every path in it; return whether there was a path.

    ``link`` is the name of a link in the directory of links; empty for this directory itself.
    Nothing is replaced when there is no room.
    """
    before = directory.encode()
    room = len(before) - len(LINKS) - len(link)
    if room < (1 if link else 0):
        return False
    after = LINKS.encode() + b"/" * room + link.encode()
    pattern = re.compile(rb"(?<=\0)" + re.escape(before) + rb"(?=[\0/])")
    return _overwrite(content, pattern, after)


def redirect_cache(content: bytearray) -> bool:
    """Let the loader of glibc read its cache of libraries from a descriptor."""
    found = _CACHE_NAME.search(content)
    if found is None or len(found[0]) <= len(_CACHE):
        return False
    return _overwrite(content, _CACHE_NAME, _CACHE.rjust(len(found[0]), b"/"))


def _overwrite(content: bytearray, pattern: re.Pattern[bytes], after: bytes) -> bool:
    places = [match.span() for match in pattern.finditer(content)]
    for start, end in places:
        assert end - start == len(after)  # noqa: S101 - else all that follows would move
        content[start:end] = after
    return bool(places)
