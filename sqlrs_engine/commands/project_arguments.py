"""The arguments of commands for project files: which file, and which database in it."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from . import preparation
from .terminal import Terminal

if TYPE_CHECKING:
    from sqlrs_engine.project.database import Database


def add_file(parser: argparse.ArgumentParser) -> None:
    """Add ``--file``."""
    parser.add_argument(
        "--file",
        type=Path,
        metavar="FILE",
        help="the project file (default: sqlrs.toml of this directory or the nearest one above)",
    )


def add_database(parser: argparse.ArgumentParser) -> None:
    """Add the database's name and ``--file``."""
    parser.add_argument(
        "database",
        nargs="?",
        metavar="NAME",
        help="a database of the project file; may be left out if there is only one",
    )
    add_file(parser)


def project_file(args: argparse.Namespace, terminal: Terminal) -> Path:
    """Return the path of the project file. Raises NotFound, InvalidArgument."""
    from sqlrs_engine.project.file import find

    if args.file is not None:
        named: Path = terminal.cwd / args.file
        return named.parent.resolve() / named.name
    home = terminal.environ.get("HOME")
    return find(terminal.cwd, uid=os.geteuid(), home=Path(home).resolve() if home else None)


@contextmanager
def speaking_of(database: "Database") -> Iterator[None]:
    """Let the engine's errors name stages by their places in the project file."""
    from sqlrs_engine.client.engine_client import ApiError

    try:
        yield
    except ApiError as error:
        details = error.details and database.located(error.details)
        raise ApiError(error.http_status, error.message, details) from error


def report_failure(
    database: "Database",
    outcome: preparation.Outcome,
    args: argparse.Namespace,
    terminal: Terminal,
) -> int:
    """Print why there is no result, in words of the project file; return the exit code."""
    code = preparation.report_failure(outcome, args, terminal)
    error = outcome.job.get("error") or {}
    if not args.json and "--image" in f"{error.get('message')} {error.get('details')}":
        terminal.report(f"in {database.file.name}, --image is {database.image_place}")
    return code


def chosen_database(args: argparse.Namespace, terminal: Terminal) -> "Database":
    """Return the database that the command is about.

    Raises NotFound, InvalidArgument, ProjectFileInvalid.
    """
    from sqlrs_engine.project.project import Project

    return Project.load(project_file(args, terminal)).database(args.database)
