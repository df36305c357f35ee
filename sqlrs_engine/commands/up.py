"""``up``: have a database of the project file running, and print its DSN."""

import argparse
import contextlib
import fcntl
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlrs_engine.errors import InvalidArgument

from . import SUCCESS, connection, env_file, preparation
from .project_arguments import add_database, chosen_database, report_failure, speaking_of
from .terminal import Terminal, places, short

if TYPE_CHECKING:
    from sqlrs_engine.client.engine_client import EngineClient
    from sqlrs_engine.project.database import Database

Json = dict[str, Any]


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "up",
        help="start a database of sqlrs.toml and print its DSN",
        description=(
            "Prepare a database of the project file, sqlrs.toml, and print its DSN. A database\n"
            "that runs already is used again, with what was written to it since, unless its\n"
            "inputs have changed."
        ),
        epilog="examples:\n"
        "  sqlrs-engine up                           if sqlrs.toml has a single database\n"
        "  sqlrs-engine up app --fresh               a new one, whatever runs\n"
        '  eval "$(sqlrs-engine up app --env)"       for the programs of this shell\n'
        "  sqlrs-engine up app --write-env .env.test",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_database(parser)
    parser.add_argument(
        "--fresh", action="store_true", help="make a new database even if one is running"
    )
    parser.add_argument(
        "--env",
        action="store_true",
        help="print lines for sh that export DATABASE_URL and the variables of libpq",
    )
    parser.add_argument(
        "--write-env",
        type=Path,
        metavar="FILE",
        help="set these variables in a file and keep its other lines",
    )
    preparation.add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Find or make the database; print its DSN, and write what was asked for."""
    if args.env and args.json:
        raise InvalidArgument("--env and --json exclude each other: choose one")
    database = chosen_database(args, terminal)
    file = None if args.write_env is None else terminal.cwd / args.write_env
    if file is not None:
        env_file.check(file)
    body = database.request(terminal.environ)
    lock = places(args.state_dir, terminal.environ).state_dir / "up"
    with (
        preparation.engine_for(args, terminal) as engine,
        speaking_of(database),
        _alone(lock / f"{database.instance_name}.lock", terminal),
    ):
        former = _bound(engine, database.instance_name)
        instance = current = None if args.fresh else _current(engine, former, body)
        if instance is None:
            outcome = preparation.prepare(engine, body, args, terminal)
            if not outcome.succeeded:
                return report_failure(database, outcome, args, terminal)
            instance = outcome.job["result"]
        preparation.bind(engine, instance["instance_id"], database.instance_name, database.ttl)
        if current is not None:
            terminal.report(
                f"{database.instance_name} is unchanged and runs already (--fresh makes a new one)"
            )
        else:
            terminal.report(f"{database.instance_name} runs; for psql: {_exec(database, args)}")
            if former is not None:
                _let_go(engine, former, terminal)
    if file is not None:
        _write(file, instance["dsn"], terminal)
    _print(instance, database, args, terminal, reused=current is not None)
    return SUCCESS


@contextlib.contextmanager
def _alone(lock: Path, terminal: Terminal) -> Iterator[None]:
    """Let one ``up`` at a time work on a name: the next one uses what this one makes."""
    lock.parent.mkdir(mode=0o700, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            terminal.report("waiting for another `sqlrs-engine up` of this database")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _bound(engine: "EngineClient", name: str) -> Json | None:
    """Return the living instance with a name, None if there is none."""
    path = f"/instances/{quote(name, safe='')}"
    instance: Json = engine.call("GET", path, accept=(404,))
    return instance if "dsn" in instance else None


def _current(engine: "EngineClient", former: Json | None, body: Json) -> Json | None:
    """Return the living instance if it was made of the state that the request leads to.

    Requests that fail here fail again as jobs, which report why.
    """
    from sqlrs_engine.client.engine_client import ApiError

    if former is None:
        return None
    try:
        decision = engine.call("POST", "/cache/explain/prepare", body=body)
    except ApiError:
        return None
    return former if decision.get("matched_state_id") == former["state_id"] else None


def _exec(database: "Database", args: argparse.Namespace) -> str:
    """Return the command that opens psql on a database."""
    place = "" if args.state_dir is None else f"--state-dir {shlex.quote(str(args.state_dir))} "
    return f"sqlrs-engine exec {place}{database.instance_name}"


def _let_go(engine: "EngineClient", former: Json, terminal: Terminal) -> None:
    """Report what became of the instance that had the name, which expires from now on."""
    path = f"/instances/{former['instance_id']}"
    left = engine.call("GET", path, accept=(404,))
    if "dsn" not in left:
        return
    if left.get("name") is None and "ttl" in left:
        engine.call("PATCH", path, body={"ttl": None}, accept=(404,))
    shown = short(left["instance_id"])
    terminal.report(
        f"the former one runs on as {shown} until it expires; to delete it: sqlrs-engine rm {shown}"
    )


def _write(file: Path, dsn: str, terminal: Terminal) -> None:
    """Write the variables to a file, and warn of one that may become public."""
    env_file.write(file, connection.variables(dsn))
    if env_file.tracked_by_git(file):
        terminal.report(
            f"warning: Git tracks {file.name}, which has a password now: remove it "
            "(git rm --cached) and add it to .gitignore"
        )


def _print(
    instance: Json,
    database: "Database",
    args: argparse.Namespace,
    terminal: Terminal,
    *,
    reused: bool,
) -> None:
    if args.json:
        fields = ("dsn", "instance_id", "state_id", "image_id")
        terminal.print_json(
            {
                "database": database.name,
                "name": database.instance_name,
                "reused": reused,
                **{field: instance.get(field) for field in fields},
            }
        )
    elif args.env:
        lines = env_file.assignments(connection.variables(instance["dsn"]), "export ")
        terminal.print(*lines)
    else:
        terminal.print(instance["dsn"])
