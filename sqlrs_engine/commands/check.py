"""``check``: find the mistakes in the project file without running anything."""

import argparse

from . import FAILURE, SUCCESS
from .project_arguments import add_file, project_file
from .terminal import Terminal, add_json


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "check",
        help="check sqlrs.toml without running anything",
        description=(
            "Check the project file, sqlrs.toml: its keys and values, the arguments of its\n"
            "stages, and that the files and programs they name exist. Needs no engine."
        ),
        epilog="examples:\n"
        "  sqlrs-engine check\n"
        "  sqlrs-engine check --print-schema > sqlrs.schema.json    for editors",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file(parser)
    parser.add_argument(
        "--print-schema", action="store_true", help="print the JSON schema of project files"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print all problems of the file; there should be none."""
    from sqlrs_engine.project.checks import problems_of
    from sqlrs_engine.project.shape import schema_text

    if args.print_schema:
        terminal.print(schema_text().rstrip("\n"))
        return SUCCESS
    path = project_file(args, terminal)
    problems, databases = problems_of(path, terminal.environ)
    if args.json:
        found = [{"place": each.place, "reason": each.reason} for each in problems]
        terminal.print_json({"path": str(path), "databases": databases, "problems": found})
    elif problems:
        terminal.print(*(f"{path.name}: {each}" for each in problems))
    else:
        terminal.print(f"{path.name} is valid: {', '.join(databases)}")
    return FAILURE if problems else SUCCESS
