"""``import``: dump a live database, and make a database from the dump."""

import argparse
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlrs_engine.clock import utc_now
from sqlrs_engine.errors import ImageUnavailable, InvalidArgument
from sqlrs_engine.processes.arguments import hide

from . import SUCCESS, preparation
from .dump_progress import OnDump, dump_progress
from .extension_offer import prepare_with_offers
from .ls import size
from .terminal import Terminal, places

if TYPE_CHECKING:
    from sqlrs_engine.client.engine_client import EngineClient
    from sqlrs_engine.pgdump.database import Database
    from sqlrs_engine.pgdump.filters import Filters
    from sqlrs_engine.pgdump.run import DumpRun
    from sqlrs_engine.pgdump.source import Source

_WITH_PASSWORD = ("@", "password")
_LONGEST_LABEL = 512
_SHOWN_TABLES = 5
_LARGE = 1024**3


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "import",
        help="make a database from a live one",
        description=(
            "Dump a live database with pg_dump, restore the dump as a state, and print the DSN of\n"
            "a fresh database with the result. The live database is only read. The dump stays in\n"
            "the state store until it is evicted: see `sqlrs-engine ls dumps`.\n\n"
            "Patterns are those of pg_dump: names with * and ?, and with a schema or without."
        ),
        epilog="examples:\n"
        "  PGPASSWORD=… sqlrs-engine import postgres://app@db.example.com/app --name prod\n"
        "  sqlrs-engine import service=prod --name prod --exclude-table-data 'audit.*'\n"
        '  sqlrs-engine import "host=/run/postgresql dbname=app" --schema-only',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "url",
        metavar="URL",
        nargs="?",
        default="",
        help="the live database: postgres://USER@HOST/DATABASE, host=… dbname=… user=…, "
        "service=…, or a name (default: what PGHOST, PGDATABASE, PGSERVICE… say). Keep passwords "
        "in PGPASSWORD or ~/.pgpass",
    )
    preparation.add_instance_options(parser)
    parser.add_argument(
        "--image",
        help="PostgreSQL to restore with (default: the version of the live database)",
    )
    parser.add_argument("--schema-only", action="store_true", help="leave out the rows")
    for option, word, text in (
        ("--schema", "SCHEMA", "import only the schemas that match"),
        ("--exclude-schema", "SCHEMA", "leave out the schemas that match"),
        ("--table", "TABLE", "import only the tables that match"),
        ("--exclude-table", "TABLE", "leave out the tables that match"),
        ("--exclude-table-data", "TABLE", "leave out the rows of the tables that match"),
    ):
        parser.add_argument(
            option, metavar=word, action="append", default=[], help=f"{text}; repeatable"
        )
    parser.add_argument(
        "--no-create-roles",
        action="store_true",
        help="create no roles: all objects belong to the user sqlrs, and privileges are left out",
    )
    parser.add_argument(
        "--force", action="store_true", help="import although the database seems too large"
    )
    preparation.add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Dump the database into the state store, prepare the dump, and print the DSN."""
    if any(word in args.url for word in _WITH_PASSWORD):
        hide(args.url)  # before the rest is loaded, which takes a moment
    from sqlrs_engine.pgdump.filters import Filters
    from sqlrs_engine.pgdump.room import check_room
    from sqlrs_engine.pgdump.source import Source
    from sqlrs_engine.postgres.majors import OLDEST_MAJOR

    source = Source.parse(args.url, terminal.environ)
    ttl = preparation.checked_ttl(args)
    if source.given == {"dbname": args.url} and os.path.exists(terminal.cwd / args.url):  # noqa: PTH110 - Path's may raise
        raise InvalidArgument(
            "this is a file, not a live database: use sqlrs-engine prepare --dump", args.url
        )
    filters = Filters(
        schema_only=args.schema_only,
        schemas=tuple(args.schema),
        exclude_schemas=tuple(args.exclude_schema),
        tables=tuple(args.table),
        exclude_tables=tuple(args.exclude_table),
        exclude_table_data=tuple(args.exclude_table_data),
    )
    source, database = _inspect(source, filters, terminal)
    program = _program(database, args, terminal)
    image = args.image or f"postgres:{max(database.major, OLDEST_MAJOR)}"
    with preparation.engine_for(args, terminal) as engine:
        if not args.force:
            check_room(database, filters, engine.get("/cache/status"))
        absent = _pull(engine, image, args, terminal)
        if absent is not None:
            return preparation.report_failure(absent, args, terminal)
        _announce(database, filters, terminal)
        dump = _keep(engine, source, database, filters, program, terminal)
        body = _request(image, dump["dump_id"], create_roles=not args.no_create_roles)
        outcome = prepare_with_offers(engine, body, args, terminal)
        if not outcome.succeeded:
            code = preparation.report_failure(outcome, args, terminal)
            terminal.report(
                "the dump is kept; to restore it without reading the live database again: "
                f"sqlrs-engine prepare --dump {dump['dump_id']} --image {image}"
            )
            return code
        result = outcome.job["result"]
        preparation.bind(engine, result["instance_id"], args.name, ttl)
    if args.json:
        terminal.print_json({"job_id": outcome.job["job_id"], "dump": dump, **result})
    else:
        terminal.print(result["dsn"])
    return SUCCESS


def _inspect(source: "Source", filters: "Filters", terminal: Terminal) -> "tuple[Source, Database]":
    """Ask for the size of the database; at a terminal, also for a password that is missing."""
    from sqlrs_engine.pgdump.database import PasswordMissing, inspect

    try:
        return source, inspect(source, filters)
    except PasswordMissing:
        if not terminal.interactive:
            raise
    source = source.with_password(terminal.secret("Password of the live database: "))
    return source, inspect(source, filters)


def _program(database: "Database", args: argparse.Namespace, terminal: Terminal) -> Path:
    from sqlrs_engine.engine.offline import distributions
    from sqlrs_engine.pgdump.programs import choose

    where = places(args.state_dir, terminal.environ)
    path = terminal.environ.get("PATH", "")
    known = distributions(where.store, path, where.builds, where.images)
    return choose(known.available(), path, database.major, tls=database.is_encrypted)


def _pull(
    engine: "EngineClient", image: str, args: argparse.Namespace, terminal: Terminal
) -> preparation.Outcome | None:
    """Have an image that is not here pulled, before a long dump; return the failure, if any."""
    body = {"prepare_kind": "psql", "image_id": image, "psql_args": ["-c", "SELECT 1"]}
    decision = engine.call("POST", "/cache/explain/prepare", body=body, accept=(409,))
    if decision.get("code") != ImageUnavailable.code:
        return None
    outcome = preparation.prepare(engine, {**body, "plan_only": True}, args, terminal)
    return None if outcome.succeeded else outcome


def _announce(database: "Database", filters: "Filters", terminal: Terminal) -> None:
    """Say what is about to be dumped; at a terminal, name the largest tables of a large one."""
    parts = [f"{database.name} on {database.host}", f"PostgreSQL {database.version}"]
    parts += [size(database.size_bytes), *filters.words()]
    terminal.report(f"importing {', '.join(parts)}")
    if terminal.stderr.isatty() and not filters.schema_only and database.size_bytes >= _LARGE:
        for table in database.tables[:_SHOWN_TABLES]:
            terminal.report(f"  {table.schema}.{table.name}: {size(table.size_bytes)}")


def _keep(
    engine: "EngineClient",
    source: "Source",
    database: "Database",
    filters: "Filters",
    program: Path,
    terminal: Terminal,
) -> dict[str, Any]:
    """Stream the dump into the state store; return its record."""
    from sqlrs_engine.pgdump.run import DumpRun

    with (
        DumpRun(program, source, filters, tls=database.is_encrypted) as dumping,
        dump_progress(terminal, f"dumping {database.name}") as on_dump,
    ):
        pieces = _shown(dumping, on_dump)
        # What keeps pg_dump from reading the database appears before its first byte.
        first = next(pieces, b"")
        params = {"label": _label(database, filters)}
        kept: dict[str, Any] = engine.upload("/dumps", chain([first], pieces), params)
    terminal.report(f"dumped {size(kept['size_bytes'])}")
    return kept


def _shown(dumping: "DumpRun", on_dump: OnDump) -> Iterator[bytes]:
    done = 0
    for piece in dumping.chunks():
        yield piece
        done += len(piece)
        on_dump(done, dumping.table)


def _label(database: "Database", filters: "Filters") -> str:
    """Return what the dump is of: the state of a database at a moment, or a part of it."""
    moment = utc_now()[:16].replace("T", " ")
    parts = [f"snapshot of {database.name} on {database.host}", f"{moment} UTC", *filters.words()]
    return ", ".join(parts)[:_LONGEST_LABEL]


def _request(image: str, dump_id: str, *, create_roles: bool) -> dict[str, Any]:
    stage: dict[str, Any] = {"kind": "dump", "dump_id": dump_id}
    if not create_roles:
        stage |= {"create_roles": False, "restore_args": ["--no-owner", "--no-privileges"]}
    return {"prepare_kind": "chain", "image_id": image, "stages": [stage]}
