"""``ls``: list names, instances, states, dumps and jobs."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from sqlrs_engine import sizes

from . import SUCCESS
from .terminal import Terminal, add_json, add_state_dir, clip, places, short

Row = dict[str, Any]

_ARGUMENTS = 40  # characters of a cell

_COLUMNS: dict[str, tuple[Sequence[str], Callable[[Row], Sequence[str]]]] = {
    "names": (
        ("NAME", "INSTANCE", "STATE", "IMAGE", "STATUS"),
        lambda row: (
            row["name"],
            short(row.get("instance_id")),
            short(row["state_id"]),
            short(row["image_id"]),
            row["status"],
        ),
    ),
    "instances": (
        ("INSTANCE", "NAME", "STATE", "IMAGE", "CREATED", "EXPIRES", "STATUS"),
        lambda row: (
            short(row["instance_id"]),
            row.get("name") or "-",
            short(row["state_id"]),
            short(row["image_id"]),
            _time(row["created_at"]),
            _time(row.get("expires_at")),
            row["status"],
        ),
    ),
    "states": (
        ("STATE", "PARENT", "IMAGE", "KIND", "ARGUMENTS", "CREATED", "SIZE", "INSTANCES"),
        lambda row: (
            short(row["state_id"]),
            short(row.get("parent_state_id")),
            short(row["image_id"]),
            row["prepare_kind"],
            clip(row["prepare_args_normalized"], _ARGUMENTS),
            _time(row["created_at"]),
            size(row.get("size_bytes")),
            str(row["refcount"]),
        ),
    ),
    "dumps": (
        ("DUMP", "SIZE", "CREATED", "LAST USED", "LABEL"),
        lambda row: (
            short(row["dump_id"]),
            size(row["size_bytes"]),
            _time(row["created_at"]),
            _time(row["last_used_at"]),
            row.get("label") or "-",
        ),
    ),
    "jobs": (
        ("JOB", "STATUS", "KIND", "IMAGE", "ARGUMENTS", "CREATED"),
        lambda row: (
            short(row["job_id"]),
            row["status"],
            row["prepare_kind"],
            short(row["image_id"]) if "@" in row["image_id"] else row["image_id"],
            clip(row.get("prepare_args_normalized"), _ARGUMENTS),
            _time(row.get("created_at")),
        ),
    ),
}
_PATHS = {kind: f"/{kind}" for kind in _COLUMNS} | {"jobs": "/prepare-jobs"}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "ls",
        help="list names, instances, states, dumps and jobs",
        description="List names, instances, states, dumps or jobs.",
        epilog="examples:\n  sqlrs-engine ls\n  sqlrs-engine ls states --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "kind",
        nargs="?",
        choices=list(_COLUMNS),
        help="what to list (default: names, instances, states and dumps)",
    )
    add_json(parser)
    add_state_dir(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print one list, or names, instances, states and dumps."""
    from sqlrs_engine.client.engine_client import connect

    kinds = [args.kind] if args.kind else ["names", "instances", "states", "dumps"]
    with connect(places(args.state_dir, terminal.environ).engine_file) as engine:
        lists = {kind: engine.get(_PATHS[kind]) or [] for kind in kinds}
    if args.json:
        terminal.print_json(lists[args.kind] if args.kind else lists)
        return SUCCESS
    for position, (kind, rows) in enumerate(lists.items()):
        if not args.kind:
            if kind == "dumps" and not rows:
                continue
            terminal.print(*([""] if position else []), f"{kind} ({len(rows)})")
        if rows or args.kind:
            headings, columns = _COLUMNS[kind]
            terminal.print_table(headings, (columns(row) for row in rows))
    return SUCCESS


def size(number: int | None) -> str:
    """Format a size in bytes for people: ``28.4 MiB``."""
    return "-" if number is None else sizes.text(number)


def _time(timestamp: str | None) -> str:
    return timestamp[:19].replace("T", " ") if timestamp else "-"
