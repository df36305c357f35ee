"""Small shell scripts that start the programs of an image.

A script opens the descriptors that the program needs (``redirection``), finds everything relative
to itself, and replaces itself by the program.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from .redirection import CACHE_DESCRIPTOR, LINKS_DESCRIPTOR

HOME = ".sqlrs"
"""The directory in a root file system that relocation adds."""

BIN_DIR = f"{HOME}/bin"
LINKS_DIR = f"{HOME}/links"
CACHE = f"{HOME}/ld.so.cache"

_SCRIPT = """\
#!/bin/sh
case $0 in
    */{bin_dir}/*) root=${{0%/{bin_dir}/*}} ;;
    */*) root=${{0%/*}}/../.. ;;
    *) root=../.. ;;
esac
exec {links_descriptor}<"$root/{links}" {cache_descriptor}<"$root/{cache}" || exit 126
{exports}exec "$root"{program} "$@"
"""


def write_wrapper(
    file: Path, program: PurePosixPath, environment: Mapping[str, Sequence[PurePosixPath]]
) -> None:
    """Write a script that starts ``program``, a path in the image, with a changed environment.

    The paths of each variable are in the image, too.
    """
    exports = "".join(
        f"export {name}={':'.join(_shell_path(path) for path in paths)}\n"
        for name, paths in environment.items()
    )
    text = _SCRIPT.format(
        bin_dir=BIN_DIR,
        links=LINKS_DIR,
        cache=CACHE,
        links_descriptor=LINKS_DESCRIPTOR,
        cache_descriptor=CACHE_DESCRIPTOR,
        exports=exports,
        program=shlex.quote(str(program)),
    )
    file.write_text(text, encoding="utf-8", errors="surrogateescape")
    file.chmod(0o755)


def _shell_path(path: PurePosixPath) -> str:
    return f'"$root"{shlex.quote(str(path))}'
