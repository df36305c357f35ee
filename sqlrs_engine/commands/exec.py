"""``exec``: run a program on an instance without showing the password to other users.

Every user can read the arguments of a program (``ps``), but not its environment.
"""

import argparse
import os
import re
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlrs_engine.errors import InvalidArgument, NotFound

from . import connection
from .preparation import IDLE_SECONDS
from .references import by_prefix
from .terminal import Places, Terminal, add_state_dir, places

if TYPE_CHECKING:
    from sqlrs_engine.client.engine_client import EngineClient

_OF_LIBPQ = re.compile(r"PG[A-Z]+")
# They refuse servers of a newer major version than their own.
_OF_SERVER = ("pg_dump", "pg_dumpall")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "exec",
        help="run psql or another program on an instance",
        description=(
            "Run a program (default: psql) with the connection of the instance in its\n"
            "environment: PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE and DATABASE_URL.\n"
            "Other users of the machine can read a program's arguments, not its environment.\n"
            "Programs are those of the PATH, then those of the instance's PostgreSQL; pg_dump\n"
            "and pg_dumpall are the instance's first."
        ),
        epilog="examples:\n"
        "  sqlrs-engine exec dev\n"
        '  sqlrs-engine exec dev -- psql -c "select 1"\n'
        "  sqlrs-engine exec 4f9c01d2aa -- pg_dump --schema-only\n"
        "  sqlrs-engine exec dev -- pytest tests",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "reference",
        metavar="ID_OR_NAME",
        help="an instance: its name, id or id prefix (8 digits or more)",
    )
    add_state_dir(parser)
    parser.usage = "%(prog)s [options] ID_OR_NAME [-- PROGRAM ARGUMENT…]"
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Replace this process with the program after ``--`` (``args.rest``).

    Raises NotFound if the instance does not exist, InvalidArgument if the program does not.
    """
    from sqlrs_engine.client.engine_client import connect_or_start

    where = places(args.state_dir, terminal.environ)
    with connect_or_start(
        where.engine_file, where.store, idle_timeout=IDLE_SECONDS, environ=terminal.environ
    ) as engine:
        instance = _find(engine, args.reference)
    environ = environment(terminal.environ, instance["dsn"])
    path = terminal.environ.get("PATH", "")
    own = _clients(where, path, instance["image_id"])
    environ["PATH"] = os.pathsep.join([path or os.defpath, *own])
    command = args.rest or ["psql"]
    program = None
    if command[0] in _OF_SERVER and own:
        program = shutil.which(command[0], path=os.pathsep.join(own))
        # By this argument pg_dumpall finds its pg_dump.
        command = [program or command[0], *command[1:]]
    program = program or shutil.which(command[0], path=environ["PATH"])
    if program is None:
        raise InvalidArgument(
            f"program not found: {command[0]}", "install it, or put its directory on the PATH"
        )
    os.execve(program, command, environ)  # noqa: S606 - the program that was asked for


def environment(environ: Mapping[str, str], dsn: str) -> dict[str, str]:
    """Return an environment in which libpq connects to ``dsn`` and nowhere else.

    PostgreSQL docs, 34.15: the user's own ``PG…`` variables would add to it or override it.
    """
    kept = {name: text for name, text in environ.items() if not _OF_LIBPQ.fullmatch(name)}
    return {**kept, **connection.variables(dsn)}


def _find(engine: "EngineClient", reference: str) -> dict[str, Any]:
    """Return the instance with a name, an id or a prefix of an id."""
    path = "/instances/{}".format
    found = engine.call("GET", path(quote(reference, safe="")), accept=(400, 404))
    if "dsn" not in found and (row := by_prefix(engine, "instance", reference)):
        found = engine.get(path(row["instance_id"]))
    if "dsn" not in found:
        raise NotFound.of("instance", reference)
    instance: dict[str, Any] = found
    return instance


def _clients(where: Places, search_path: str, image_id: str) -> list[str]:
    """Return the directory, if there is one, with the client programs of a PostgreSQL.

    Root gets those of this machine in place of an image's.
    """
    from sqlrs_engine.engine.offline import distributions

    known = distributions(where.store, search_path, where.builds, where.images)
    found = next((each for each in known.available() if each.image_id == image_id), None)
    own = found and found.bin_dir
    if found and found.origin == "image" and os.geteuid() == 0:
        own = known.get(image_id).clients
    return [str(own)] if own else []
