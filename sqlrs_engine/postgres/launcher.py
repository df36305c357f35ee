"""Starting PostgreSQL's programs: their user, their environment, their path to the data."""

import contextlib
import fcntl
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO

from sqlrs_engine.errors import ClusterFailed, InvalidArgument

from .access import accessible, can_enter
from .distributions.distribution import Distribution
from .os_user import OsUser
from .settings import SUPERUSER
from .user_name import UserName

Popen = subprocess.Popen[bytes]
File = int | IO[bytes] | None

_DATABASE = "postgres"
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_FIRST_DESCRIPTOR = 10
_SOCKET_PATH_LIMIT = 107
# The longest name of a socket below the data directory.
_SOCKET_NAME = "/.s.PGSQL.65535"


class Launcher:
    """Starts the programs of one distribution on one data directory."""

    def __init__(
        self, distribution: Distribution, data_dir: Path, os_user: OsUser | None, public_root: Path
    ) -> None:
        self._distribution = distribution
        self._data_dir = data_dir
        self._os_user = os_user
        self._public_root = public_root

    def server(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        output: File,
        stdin: File = None,
        user_name: UserName = UserName(),  # noqa: B008 - it is immutable
        mode: Sequence[str] = (),
    ) -> Popen:
        """Start ``initdb`` or ``postgres`` on the data directory, in its own session.

        When the engine is root, it runs as the owner of the data directory, without any other
        group. It sees nothing of the engine's environment. ``stdin`` None is empty. ``user_name``
        is for programs that require a name of their user, ``mode`` for an option that must be the
        first. Raises ClusterFailed when it cannot be run.
        """
        user = self._user
        switch = switch_user(user) if user else []
        if switch:
            user = None
        with (
            self._enterable(self._data_dir) as (data, descriptors),
            self._additions(program) as (additions, more),
        ):
            try:
                return subprocess.Popen(
                    [
                        *user_name.prefix,
                        *switch,
                        str(self._server_bin / program),
                        *mode,
                        "-D",
                        data,
                        *additions,
                        *arguments,
                    ],
                    stdin=subprocess.DEVNULL if stdin is None else stdin,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd="/",
                    # UTC: a cluster must not depend on the machine's time zone.
                    env={
                        "PATH": _SYSTEM_PATH,
                        "LANG": "C.UTF-8",
                        "TZ": "UTC",
                        **user_name.environment,
                    },
                    start_new_session=True,
                    pass_fds=(*descriptors, *more),
                    user=user.uid if user else None,
                    group=user.gid if user else None,
                    extra_groups=[] if user else None,
                )
            except OSError as error:
                raise ClusterFailed(
                    f"cannot run {program}: check its installation with `sqlrs-engine doctor`",
                    str(error),
                ) from error

    def client(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        port: int,
        dbname: str,
        distribution: Distribution | None = None,
        cwd: Path | None,
        stdin: File,
        stdout: File,
        stderr: File,
        environment: Mapping[str, str],
    ) -> Popen:
        """Start a client program; see ``Cluster.client``."""
        if not program or program in (".", "..") or Path(program).name != program:
            raise InvalidArgument(
                "invalid name of a PostgreSQL program: write a plain name such as pg_dump", program
            )
        if distribution is None:
            place, user = self._client_place(program)
        else:
            place, user = distribution.bin_dir, None
        if not (place / program).is_file():
            raise InvalidArgument(
                f"PostgreSQL {self._distribution.version} has no program of this name: check the "
                "spelling",
                program,
            )
        switch = switch_user(user) if user else []
        if switch:
            user = None
        with open_directory(self._data_dir) as directory:
            own = self._client_environment(directory, port, dbname)
            path = {"PATH": f"{place}:{_SYSTEM_PATH}", "PGAPPNAME": program}
            try:
                return subprocess.Popen(
                    [*switch, place / program, *arguments],
                    stdin=subprocess.DEVNULL if stdin is None else stdin,
                    stdout=stdout,
                    stderr=stderr,
                    cwd=cwd or "/",
                    env={**own, **path, **environment},
                    start_new_session=True,
                    pass_fds=(directory,),
                    user=user.uid if user else None,
                    group=user.gid if user else None,
                    extra_groups=[] if user else None,
                )
            except OSError as error:
                raise ClusterFailed(
                    f"cannot run {program}: check its installation with `sqlrs-engine doctor`",
                    str(error),
                ) from error

    def shell(
        self,
        text: str,
        arguments: Sequence[str],
        *,
        port: int,
        user: str,
        environment: Mapping[str, str],
    ) -> Popen:
        """Start ``bash`` as the user that runs the server; see ``Cluster.shell``."""
        bash = shutil.which("bash", path=_SYSTEM_PATH)
        if bash is None:
            raise ClusterFailed("there is no bash on this machine: install it", _SYSTEM_PATH)
        owner = self._user
        switch = switch_user(owner) if owner else []
        if switch:
            owner = None
        with (
            open_directory(self._data_dir) as directory,
            self._enterable(self._data_dir) as (data, more),
        ):
            own = self._client_environment(directory, port, _DATABASE)
            try:
                return subprocess.Popen(
                    [*switch, bash, "-c", text, "bash", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd="/",
                    env={
                        **environment,
                        **own,
                        "PATH": f"{self._server_bin}:{_SYSTEM_PATH}",
                        "HOME": data,
                        "TZ": "UTC",
                        "PGDATA": data,
                        "PGUSER": user,
                        "POSTGRES_USER": user,
                        "POSTGRES_DB": _DATABASE,
                        "POSTGRES_PASSWORD": "",
                    },
                    start_new_session=True,
                    pass_fds=(directory, *more),
                    user=owner.uid if owner else None,
                    group=owner.gid if owner else None,
                    extra_groups=[] if owner else None,
                )
            except OSError as error:
                raise ClusterFailed(
                    "cannot run bash: check its installation", str(error)
                ) from error

    def _client_place(self, program: str) -> tuple[Path, OsUser | None]:
        """Return the directory of a client program, and its user unless that is the engine's.

        Root runs no program of an image: it runs the same program of another distribution, or
        else leaves the image's to the user that runs the server.
        """
        distribution = self._distribution
        if self._os_user is None or distribution.origin != "image":
            return distribution.bin_dir, None
        if distribution.clients is not None and (distribution.clients / program).is_file():
            return distribution.clients, None
        return self._server_bin, self._user

    @property
    def _user(self) -> OsUser | None:
        """The user that runs the server programs; None for the engine's own."""
        return self._os_user.of(self._data_dir) if self._os_user is not None else None

    @cached_property
    def _server_bin(self) -> Path:
        """The directory in which the servers' user finds the server programs."""
        user = self._user
        if user is None:
            return self._distribution.bin_dir
        return accessible(self._distribution, user, self._public_root).bin_dir

    @contextlib.contextmanager
    def _additions(self, program: str) -> Iterator[tuple[list[str], tuple[int, ...]]]:
        """Yield the arguments that let ``postgres`` find the extensions added to it.

        With them come the descriptors that they need.
        """
        directories = [] if program != "postgres" else list(self._added_directories())
        if not directories:
            yield [], ()
            return
        with contextlib.ExitStack() as opened:
            places: list[str] = []
            descriptors: list[int] = []
            for directory, name in directories:
                entered, more = opened.enter_context(self._enterable(directory))
                places.append(f"{entered}/{name}" if name else entered)
                descriptors += more
            control = ":".join(["$system", *places])
            libraries = ":".join(["$libdir", *(f"{each}/lib" for each in places)])
            yield (
                [
                    *("-c", f"extension_control_path={control}"),
                    *("-c", f"dynamic_library_path={libraries}"),
                ],
                tuple(descriptors),
            )

    def _added_directories(self) -> Iterator[tuple[Path, str]]:
        """Yield the directories with added extensions, as existing ones and names in them."""
        added, fetched = self._distribution.additions, self._distribution.fetched
        if added is not None and added.is_dir():
            yield added, ""
        if fetched is not None and fetched.parent.is_dir():
            # It may appear while the server runs, which looks each time it needs an extension.
            yield fetched.parent, fetched.name

    @contextlib.contextmanager
    def _enterable(self, path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield a path by which the server can enter a directory, and its descriptors."""
        user = self._user
        if user is None or can_enter(path, user):
            yield str(path), ()
            return
        with open_directory(path) as directory:
            yield f"/proc/self/fd/{directory}", (directory,)

    def _client_environment(self, directory: int, port: int, dbname: str) -> dict[str, str]:
        return {
            "HOME": _home(),
            "LANG": "C.UTF-8",
            # By descriptor: the path may be longer than a socket's may be.
            "PGHOST": f"/proc/self/fd/{directory}",
            "PGPORT": str(port),
            "PGUSER": SUPERUSER,
            "PGDATABASE": dbname,
        }


def switch_user(user: OsUser, path: str = _SYSTEM_PATH) -> list[str]:
    """Return a command prefix that switches to ``user``; empty when there is no ``setpriv``.

    If ``subprocess`` switched the user itself, it would have to fork, which copies the page tables
    of the whole engine (4 ms for 100 MB) with the interpreter locked. Otherwise it uses vfork.
    """
    tool = shutil.which("setpriv", path=path)
    # That of busybox lacks these options.
    if tool is None or Path(tool).resolve().name != "setpriv":
        return []
    return [tool, f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups", "--"]


@contextlib.contextmanager
def open_directory(path: Path) -> Iterator[int]:
    """Hold a descriptor that only names the directory, for ``/proc/self/fd/<n>``."""
    low = os.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        # Those below are for shells: the programs of images come with open ones.
        descriptor = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _FIRST_DESCRIPTOR)
    finally:
        os.close(low)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def socket_fits(directory: Path) -> bool:
    """Return whether a socket in ``directory`` can be named by its plain path."""
    return len(os.fsencode(directory)) + len(_SOCKET_NAME) <= _SOCKET_PATH_LIMIT


def _home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"
