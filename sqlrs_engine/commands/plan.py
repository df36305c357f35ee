"""``plan``: show the steps of a database of the project file."""

import argparse

from . import SUCCESS, preparation
from .project_arguments import add_database, chosen_database, report_failure, speaking_of
from .terminal import Terminal


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "plan",
        help="show the steps of a database of sqlrs.toml, and which are cached",
        description="Show the steps of a database of the project file. Runs none of them.",
        epilog="example:\n  sqlrs-engine plan app",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_database(parser)
    preparation.add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print the plan."""
    database = chosen_database(args, terminal)
    body = {**database.request(terminal.environ), "plan_only": True}
    with preparation.engine_for(args, terminal) as engine, speaking_of(database):
        outcome = preparation.prepare(engine, body, args, terminal)
        if not outcome.succeeded:
            return report_failure(database, outcome, args, terminal)
        preparation.print_plan(engine, outcome, args, terminal)
    return SUCCESS
