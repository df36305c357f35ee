"""Makes the PostgreSQL of an unpacked image run in place: no container, no root, no namespaces.

The programs stay where they are, as they find their own libraries and data relative to
themselves. What they look for by absolute paths is redirected (``redirection``):

* the loader of the image, which a program names, and its list of libraries (``library_cache``)
* the time zones, the locales and the character sets of the C library
* by variables of the server: the data of PROJ, GDAL, OpenSSL, Python, Perl and Tcl

The tree may be moved afterwards. It must not have been made runnable before.
"""

import os
import re
import stat
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sqlrs_engine.errors import ImageUnusable
from sqlrs_engine.postgres.os_user import OsUser

from . import locales, server_data
from .elf import Elf
from .library_cache import Library, cache, libraries, library_dirs, library_dirs_of_musl
from .manifests import ImageConfig
from .programs import ImagePrograms
from .redirection import LINKS, redirect, redirect_cache
from .root_tree import RootTree, read, replace
from .server_environment import server_environment
from .server_programs import SERVER, ServerPrograms, find_programs
from .wrappers import BIN_DIR, CACHE, HOME, LINKS_DIR, OWN_PATH, write_locale_list, write_wrapper

_LOADER = "b/ld"  # musl looks for its configuration beside the directory of the loader
_ROOT_LINK = "r"
_ZONES, _ZONES_LINK = "/usr/share/zoneinfo", "z"
_CHARACTER_SETS_LINK = "gconv"
_MODULE = re.compile(r".*\.so")
_C_LIBRARY = "libc.so.6"
_TRIED = (SERVER, "initdb", "psql")
_TRY_SECONDS = 60
_OTHER_IMAGE = "use another image, or pull it for this machine's platform"


def make_runnable(
    rootfs: Path, config: ImageConfig, *, os_user: OsUser | None = None
) -> ImagePrograms:
    """Add ``.sqlrs`` to a root file system, with a ``bin`` whose programs run on this machine.

    Files that have to change are replaced. ``os_user`` is the user that runs the servers when the
    engine is root: nothing of the image is run as root. Raises ImageUnusable when the image has
    no PostgreSQL that can be run here, OSError.
    """
    tree = RootTree(rootfs)
    home = rootfs / HOME
    if os.path.lexists(home):
        raise ImageUnusable(f"the image has a file /{HOME} of its own: use another image")
    programs = find_programs(tree, config.env)
    data = server_data.find_data(tree, programs.server)
    if data is None:
        raise ImageUnusable(
            "the PostgreSQL of the image is not complete: use another image",
            f"{tree.name(programs.server)} finds neither its libraries nor its data",
        )
    loaded = _read_loaded(tree, programs, data)
    (rootfs / LINKS_DIR).mkdir(parents=True)
    (rootfs / BIN_DIR).mkdir()
    _Relocation(tree, programs, data, loaded).run()
    _open_to_all(home)
    _try(tree, programs, os_user)
    return ImagePrograms(
        bin_dir=PurePosixPath(BIN_DIR),
        banner=programs.banner,
        version=programs.version,
        major=programs.major,
        extensions=server_data.extensions(tree, data),
        initdb_scripts=server_data.initdb_scripts(tree),
        locale=locales.image_locale(tree, config.env, musl=loaded.musl),
    )


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What is loaded to run a PostgreSQL: the loader, programs, modules and libraries."""

    loader: Path
    musl: bool
    server: Elf
    programs: tuple[Library, ...]
    modules: tuple[Library, ...]
    libraries: dict[str, Library]
    directories: tuple[PurePosixPath, ...]


def _read_loaded(tree: RootTree, programs: ServerPrograms, data: server_data.ServerData) -> _Loaded:
    """Find what is loaded; raises ImageUnusable when the image is not for this machine."""
    files = set(programs.paths.values())
    started = tuple(Library(path, elf) for path in sorted(files) if (elf := Elf.read(path)))
    server = next(each.elf for each in started if each.path == programs.server)
    machine = os.uname().machine
    if server.machine != machine:
        raise ImageUnusable(
            f"the image is for {server.machine} and this machine is {machine}: {_OTHER_IMAGE}"
        )
    loader = tree.file(server.interpreter or "")
    if loader is None:
        raise ImageUnusable(
            "the image has no loader for its own programs: use another image", server.interpreter
        )
    musl = PurePosixPath(server.interpreter or "").name.startswith("ld-musl-")
    modules = tuple(
        Library(path, elf)
        for _, path in tree.files(data.libraries, _MODULE)
        if (elf := Elf.read(path))
    )

    def directories(wanted: Iterable[str]) -> list[PurePosixPath]:
        if musl:
            return library_dirs_of_musl(tree, machine, wanted)
        return library_dirs(tree, tree.name(loader).parent, wanted)

    wishes = list(_wishes(tree, (*started, *modules)))
    places = directories(wishes)
    found = libraries(tree, places, server)
    wishes += _wishes(tree, found.values())
    if (more := directories(wishes)) != places:
        places, found = more, libraries(tree, more, server)
    return _Loaded(
        loader=loader,
        musl=musl,
        server=server,
        programs=started,
        modules=modules,
        libraries=found,
        directories=tuple(places),
    )


def _wishes(tree: RootTree, files: Iterable[Library]) -> Iterator[str]:
    """Yield the directories, in the image, in which files want their libraries to be looked for."""
    for each in files:
        if _is_bound(each.elf):
            origin = str(tree.name(each.path).parent)
            for directory in each.elf.search_path:
                yield directory.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)


def _is_bound(elf: Elf) -> bool:
    """Return whether a file looks for its libraries in directories that are not its own."""
    return any(not each.startswith(("$ORIGIN", "${ORIGIN}")) for each in elf.search_path)


class _Relocation:
    """The changes to one image."""

    def __init__(
        self,
        tree: RootTree,
        programs: ServerPrograms,
        data: server_data.ServerData,
        loaded: _Loaded,
    ) -> None:
        self._tree = tree
        self._programs = programs
        self._data = data
        self._loaded = loaded
        self._links = tree.root / LINKS_DIR

    def run(self) -> None:
        self._link(_ROOT_LINK, PurePosixPath("/"))
        if self._tree.directory(_ZONES):
            self._link(_ZONES_LINK, PurePosixPath(_ZONES))
        self._write_loader()
        for each in self._loaded.programs:
            self._change_program(each)
        self._change_libraries()
        self._write_wrappers()
        self._write_locales()

    def _write_loader(self) -> None:
        content = bytearray(read(self._loaded.loader))
        if self._loaded.musl:
            self._write_list_of_directories()
        else:
            self._write_cache(content)
        loader = self._links / _LOADER
        loader.parent.mkdir()
        loader.write_bytes(content)
        loader.chmod(0o755)

    def _write_cache(self, loader: bytearray) -> None:
        paths = {
            name: f"{LINKS}/{_ROOT_LINK}{self._tree.name(each.path)}"
            for name, each in self._loaded.libraries.items()
        }
        content = cache(paths, self._loaded.server.machine)
        if content is None or not redirect_cache(loader):
            raise ImageUnusable(
                "the C library of the image is not known: use another image",
                str(self._tree.name(self._loaded.loader)),
            )
        (self._tree.root / CACHE).write_bytes(content)

    def _write_list_of_directories(self) -> None:
        file = self._links / "etc" / f"ld-musl-{self._loaded.server.machine}.path"
        file.parent.mkdir()
        lines = [f"{LINKS}/{_ROOT_LINK}{each}\n" for each in self._loaded.directories]
        file.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
        (self._tree.root / CACHE).touch()

    def _change_program(self, program: Library) -> None:
        content = bytearray(read(program.path))
        if not program.elf.with_interpreter(content, f"{LINKS}/{_LOADER}"):
            raise ImageUnusable(
                "the path of the loader in the image's programs is too short: use another image",
                program.elf.interpreter,
            )
        if self._tree.directory(_ZONES):
            redirect(content, _ZONES, _ZONES_LINK)
        if _is_bound(program.elf):
            program.elf.without_search_path(content)
        replace(program.path, content)

    def _change_libraries(self) -> None:
        """Change the C library, and those libraries that look for others by absolute paths."""
        c_library = self._loaded.libraries.get(_C_LIBRARY)
        changed = {
            each.path: each
            for each in (*self._loaded.libraries.values(), *self._loaded.modules)
            if _is_bound(each.elf) or each is c_library
        }
        for each in changed.values():
            content = bytearray(read(each.path))
            if _is_bound(each.elf):
                each.elf.without_search_path(content)
            if each is c_library:
                self._redirect_c_library(content, self._tree.name(each.path).parent)
            replace(each.path, content)

    def _redirect_c_library(self, content: bytearray, directory: PurePosixPath) -> None:
        character_sets = directory / "gconv"
        if self._tree.directory(character_sets):
            self._link(_CHARACTER_SETS_LINK, character_sets)
            redirect(content, str(character_sets), _CHARACTER_SETS_LINK)
        place = self._tree.directory(locales.DIRECTORY)
        if place is not None and redirect(content, locales.DIRECTORY, ""):
            for each in place.iterdir():
                # No locale has the name of a link that leads elsewhere, but other files may.
                if not os.path.lexists(self._links / each.name):
                    self._link(each.name, PurePosixPath(locales.DIRECTORY) / each.name)

    def _write_wrappers(self) -> None:
        modules = [each.path.name for each in self._loaded.modules]
        environment = server_environment(self._tree, modules, self._loaded.libraries)
        for name, path in self._programs.paths.items():
            write_wrapper(
                self._tree.root / BIN_DIR / name,
                self._tree.name(path),
                environment if path == self._programs.server else {},
                own_path=name == "initdb",
            )

    def _write_locales(self) -> None:
        """List the locales for ``initdb``; musl has no list, as it takes every name."""
        names = [] if self._loaded.musl else ["C", "POSIX", *locales.locales(self._tree)]
        write_locale_list(self._tree.root / OWN_PATH, names)

    def _link(self, name: str, path: PurePosixPath) -> None:
        """Add a link to a path in the image to the directory of links."""
        depth = len(PurePosixPath(LINKS_DIR).parts)
        (self._links / name).symlink_to("../" * depth + str(path).lstrip("/"))


def _open_to_all(home: Path) -> None:
    """Let all users read what was added, whatever the umask: the servers' user runs it."""
    for place, _, names in os.walk(home):
        Path(place).chmod(0o755)
        for path in (Path(place, name) for name in names):
            if not path.is_symlink():
                path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o444)


def _try(tree: RootTree, programs: ServerPrograms, os_user: OsUser | None) -> None:
    """Raise ImageUnusable unless the programs run."""
    for name in (each for each in _TRIED if each in programs.paths):
        try:
            answer = subprocess.run(
                [f"{BIN_DIR}/{name}", "--version"],
                # The tree may lie where the user cannot go.
                cwd=tree.root,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_TRY_SECONDS,
                check=False,
                user=os_user.uid if os_user else None,
                group=os_user.gid if os_user else None,
                extra_groups=[] if os_user else None,
            )
        except FileNotFoundError as error:
            raise _cannot_run(
                name, "there is no /bin/sh on this machine: install a shell"
            ) from error
        except PermissionError as error:
            reason = f"the filesystem of {tree.root} forbids programs (mount option noexec)"
            raise _cannot_run(name, reason) from error
        except subprocess.TimeoutExpired as error:
            raise _cannot_run(name, f"it did not end within {_TRY_SECONDS} s") from error
        output = answer.stdout.decode("utf-8", "replace").strip()
        if answer.returncode != 0 or "(PostgreSQL)" not in output:
            raise _cannot_run(name, output or f"it ended with code {answer.returncode}")


def _cannot_run(program: str, reason: str) -> ImageUnusable:
    return ImageUnusable(
        f"the program {program} of the image does not run on this machine: remove the cause "
        "that the details name, or use another image",
        reason,
    )
