"""``explain``: say whether a database of the project file is cached, and what has changed."""

import argparse
from typing import Any

from . import SUCCESS, preparation
from .project_arguments import add_database, chosen_database, speaking_of
from .terminal import Terminal, short


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "explain",
        help="show why steps of a database of sqlrs.toml would run",
        description=(
            "Say whether a database of the project file is cached. If not, list the inputs in\n"
            "which it differs from the most similar one that is. Runs no step."
        ),
        epilog="example:\n  sqlrs-engine explain app",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_database(parser)
    preparation.add_engine_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print the decision and the changed inputs."""
    database = chosen_database(args, terminal)
    body = database.request(terminal.environ)
    with preparation.engine_for(args, terminal) as engine, speaking_of(database):
        decision = engine.call("POST", "/cache/explain/prepare", body=body)
    if args.json:
        terminal.print_json(decision)
    else:
        _print(decision, terminal)
    return SUCCESS


def _print(decision: dict[str, Any], terminal: Terminal) -> None:
    if decision["decision"] == "hit":
        terminal.print(f"hit: the last state, {short(decision['matched_state_id'])}, is cached")
        return
    steps = decision.get("missing_steps")
    nearest = decision.get("nearest_state_id")
    start = f"state {short(nearest)}" if nearest else "the base state"
    terminal.print(f"miss: {steps} {'step' if steps == 1 else 'steps'} would run, from {start}")
    changes = decision.get("changes") or []
    if changes:
        rows = [(f"execute-{each['step']}", each["kind"], each["name"]) for each in changes]
        terminal.print_table(("STEP", "CHANGED", "NAME"), rows)
