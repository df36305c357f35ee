"""Small shell scripts that start the programs of an image.

A script opens the descriptors that the program needs (``redirection``), finds everything relative
to itself, and replaces itself by the program. The descriptors belong to that last command: some
shells close those that ``exec`` alone has opened.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from .redirection import CACHE_DESCRIPTOR, LINKS_DESCRIPTOR

HOME = ".sqlrs"
"""The directory in a root file system that relocation adds."""

BIN_DIR = f"{HOME}/bin"
OWN_PATH = f"{HOME}/path"
LINKS_DIR = f"{HOME}/links"
CACHE = f"{HOME}/ld.so.cache"

_SCRIPT = """\
#!/bin/sh
case $0 in
    */{bin_dir}/*) root=${{0%/{bin_dir}/*}} ;;
    */*) root=${{0%/*}}/../.. ;;
    *) root=../.. ;;
esac
{exports}exec "$root"{program} "$@" \\
    {links_descriptor}<"$root/{links}" {cache_descriptor}<"$root/{cache}"
"""


def write_wrapper(
    file: Path,
    program: PurePosixPath,
    environment: Mapping[str, Sequence[PurePosixPath]],
    *,
    own_path: bool = False,
) -> None:
    """Write a script that starts ``program``, a path in the image, with a changed environment.

    The paths of each variable are in the image, too. With ``own_path``, the program finds those of
    ``OWN_PATH`` before those of the machine.
    """
    exports = "".join(
        f"export {name}={':'.join(_shell_path(path) for path in paths)}\n"
        for name, paths in environment.items()
    )
    if own_path:
        exports += f'export PATH="$root/{OWN_PATH}:$PATH"\n'
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


def write_locale_list(directory: Path, names: Sequence[str]) -> None:
    """Write a script ``locale`` that lists the locales of an image, whatever it is asked for.

    ``initdb`` makes collations of what ``locale -a`` prints. That of the machine lists the
    machine's.
    """
    directory.mkdir()
    file = directory / "locale"
    command = f"printf '%s\\n' {shlex.join(names)}\n" if names else ""
    file.write_text(f"#!/bin/sh\n{command}", encoding="utf-8")
    for each in (directory, file):
        each.chmod(0o755)


def _shell_path(path: PurePosixPath) -> str:
    return f'"$root"{shlex.quote(str(path))}'
