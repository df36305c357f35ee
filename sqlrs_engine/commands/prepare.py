"""``prepare``: make a database from scripts, a changelog, a dump or a program; print its DSN."""

import argparse
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlrs_engine import ids
from sqlrs_engine.errors import InvalidArgument, NotFound

from . import SUCCESS, preparation, traced_inputs
from .extension_offer import prepare_with_offers
from .prepare_request import command_request, dump_request, liquibase_request, psql_request
from .references import by_prefix
from .terminal import Terminal

if TYPE_CHECKING:
    from sqlrs_engine.client.engine_client import EngineClient

DEFAULT_IMAGE = "postgres:18"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "prepare",
        help="make a database from scripts, a dump or a program and print its DSN",
        description=(
            "Run psql scripts, a Liquibase changelog or a program that migrates, or restore a\n"
            "dump, and print the DSN of a fresh database with the result. The result is cached as\n"
            "a state, so the second time is instant."
        ),
        epilog="examples:\n"
        "  sqlrs-engine prepare -- -f schema.sql -f data.sql\n"
        "  sqlrs-engine prepare --image postgres:17 --name dev -- -f schema.sql\n"
        "  sqlrs-engine prepare --image postgis/postgis:17-3.5 -- -f schema.sql\n"
        "  sqlrs-engine exec dev -- psql                     open psql on it\n"
        "  pg_dump … | sqlrs-engine prepare --name copy -- -f -\n"
        "  sqlrs-engine prepare --from dev -- -f more.sql    go on from the state of dev\n"
        "  sqlrs-engine prepare --plan -- -f schema.sql      show what is cached\n"
        "  sqlrs-engine prepare --liquibase -- update --changelog-file changelog.xml\n"
        "  sqlrs-engine prepare --dump prod.dump -- --no-owner --exclude-schema=audit\n"
        "  sqlrs-engine prepare --command --input 'migrations/**' --input alembic.ini \\\n"
        "      -- alembic upgrade head",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--image",
        default=DEFAULT_IMAGE,
        help="PostgreSQL to use: a version, or any image that docker run takes "
        f"(default: {DEFAULT_IMAGE})",
    )
    start.add_argument(
        "--from",
        dest="origin",
        metavar="NAME|STATE_ID",
        help="start from a state: that of a name's instance, or one by its id or id prefix",
    )
    preparation.add_instance_options(parser)
    parser.add_argument(
        "--plan",
        action="store_true",
        help="only show the steps and whether their states are cached",
    )
    parser.add_argument(
        "--liquibase",
        action="store_true",
        help="the arguments are those of Liquibase; each changeset is a step",
    )
    parser.add_argument(
        "--dump",
        metavar="FILE",
        help="restore a dump that pg_dump has made, in any format, or one that the state store "
        "keeps, by its id; the arguments are those of pg_restore",
    )
    parser.add_argument(
        "--no-create-roles",
        action="store_true",
        help="with --dump: do not create the roles that the dump mentions",
    )
    _add_command_options(parser)
    preparation.add_options(parser)
    parser.usage = "%(prog)s [options] -- ARGUMENT…"
    parser.set_defaults(run=run)


def _add_command_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--command",
        action="store_true",
        help="the arguments are a program and its own; it finds the database in DATABASE_URL and "
        "PGHOST, PGPORT and so on",
    )
    parser.add_argument(
        "--input",
        action="append",
        metavar="GLOB",
        help="with --command: a pattern of files that the program reads, such as 'migrations/**'; "
        "repeatable",
    )
    parser.add_argument(
        "--no-inputs", action="store_true", help="with --command: the program reads no files"
    )
    parser.add_argument(
        "--env",
        action="append",
        metavar="NAME[=VALUE]",
        help="with --command: a variable for the program; repeatable",
    )
    parser.add_argument(
        "--version-command",
        metavar="COMMAND",
        help="with --command: what prints the version of the program, such as 'alembic --version'",
    )
    parser.add_argument(
        "--trace-inputs",
        action="store_true",
        help="with --command: run it in any case, list the files that it opens, and keep nothing",
    )
    parser.add_argument(
        "--work-dir",
        metavar="DIR",
        help="with --command: where the program runs (default: this directory)",
    )


_COMMAND_OPTIONS = ("input", "no_inputs", "env", "version_command", "trace_inputs", "work_dir")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Prepare with the arguments after ``--`` (``args.rest``); print the DSN or the plan."""
    ttl = preparation.checked_ttl(args)
    body = {"plan_only": args.plan, **_request(args, terminal)}
    with preparation.engine_for(args, terminal) as engine:
        if args.origin is None:
            body["image_id"] = args.image
        else:
            body["from"] = _origin(engine, args.origin)
        outcome = prepare_with_offers(engine, body, args, terminal)
        if not outcome.succeeded:
            return preparation.report_failure(outcome, args, terminal)
        if args.plan:
            preparation.print_plan(engine, outcome, args, terminal)
            return SUCCESS
        result = outcome.job["result"]
        if args.trace_inputs:
            traced_inputs.show(engine, result, args, terminal)
            return SUCCESS
        preparation.bind(engine, result["instance_id"], args.name, ttl)
    if args.json:
        terminal.print_json({"job_id": outcome.job["job_id"], **result})
    else:
        terminal.print(result["dsn"])
    return SUCCESS


def _request(args: argparse.Namespace, terminal: Terminal) -> dict[str, Any]:
    """Return the fields that say what to prepare."""
    if args.command:
        if args.liquibase or args.dump is not None:
            raise InvalidArgument("--command excludes --liquibase and --dump")
        return _command(args, terminal)
    for option in _COMMAND_OPTIONS:
        if getattr(args, option):
            raise InvalidArgument(f"--{option.replace('_', '-')} is for commands: add --command")
    if args.dump is not None:
        if args.liquibase:
            raise InvalidArgument("--dump and --liquibase exclude each other")
        return dump_request(args.dump, args.rest, terminal, create_roles=not args.no_create_roles)
    if args.no_create_roles:
        raise InvalidArgument("--no-create-roles is for dumps: add --dump FILE")
    request = liquibase_request if args.liquibase else psql_request
    return {"work_dir": str(terminal.cwd), **request(args.rest, terminal)}


def _command(args: argparse.Namespace, terminal: Terminal) -> dict[str, Any]:
    if args.trace_inputs and (args.plan or args.name):
        raise InvalidArgument("--trace-inputs keeps no database: leave out --name and --plan")
    if bool(args.input) == args.no_inputs and not (args.trace_inputs and not args.input):
        raise InvalidArgument(
            "name the files that the program reads with --input 'migrations/**', or write "
            "--no-inputs if it reads none"
        )
    return command_request(
        args.rest,
        terminal,
        inputs=args.input or (),
        env=args.env or (),
        version_command=args.version_command,
        work_dir=args.work_dir,
        trace_inputs=args.trace_inputs,
    )


def _origin(engine: "EngineClient", reference: str) -> dict[str, str]:
    """Return the request's field for the state to start from. Raises NotFound, InvalidArgument."""
    if ids.is_state_id(reference):
        return {"state_id": reference}
    if "name" in engine.call("GET", f"/names/{quote(reference, safe='')}", accept=(404,)):
        return {"name": reference}
    state = by_prefix(engine, "state", reference)
    if state is None:
        raise NotFound("no name or state to start from: list them (sqlrs-engine ls)", reference)
    return {"state_id": state["state_id"]}
