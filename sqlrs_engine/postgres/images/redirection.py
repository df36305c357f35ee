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
    found, start = False, 0
    # A regular expression would take ten times as long.
    while (start := content.find(b"\0" + before, start) + 1) > 0:
        end = start + len(before)
        if end < len(content) and content[end] in b"\0/":
            content[start:end] = after
            found = True
    return found


def redirect_cache(content: bytearray) -> bool:
    """Let the loader of glibc read its cache of libraries from a descriptor."""
    found = [match.span() for match in _CACHE_NAME.finditer(content)]
    for start, end in found:
        if end - start <= len(_CACHE):
            return False
        content[start:end] = _CACHE.rjust(end - start, b"/")
    return bool(found)
