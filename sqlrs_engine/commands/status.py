"""``status``: show whether an engine is running, and its contents."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlrs_engine.daemon import engine_file
from sqlrs_engine.errors import DISK_FULL

from . import NO_ENGINE, SUCCESS
from .ls import size
from .terminal import Terminal, add_json, add_state_dir, places

_WARNINGS = {"disk_full": DISK_FULL}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "status",
        help="show the running engine and its contents",
        description="Show the running engine and its contents. The exit code is 3 if no engine is "
        "running.",
    )
    add_json(parser)
    add_state_dir(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print the health and the counts of the engine; return NO_ENGINE if none is running."""
    from sqlrs_engine.client.engine_client import EngineClient, find

    from .doctor import problems

    where = places(args.state_dir, terminal.environ)
    record = find(where.engine_file)
    if record is not None and record.state_store:
        where = replace(where, store=Path(record.state_store))
    status: dict[str, Any] = {"running": record is not None}
    if record is not None:
        with EngineClient(record.base_url, record.auth_token) as engine:
            jobs = engine.get("/prepare-jobs") or []
            states = engine.get("/states") or []
            dumps = engine.get("/dumps") or []
            status |= {
                "warnings": engine.get("/health").get("warnings", []),
                "endpoint": record.endpoint,
                "pid": record.pid,
                "version": record.version,
                "started_at": record.started_at,
                "instances": len(engine.get("/instances") or []),
                "names": len(engine.get("/names") or []),
                "states": len(states),
                "state_bytes": sum(row.get("size_bytes") or 0 for row in states),
                "dumps": len(dumps),
                "dump_bytes": sum(row["size_bytes"] for row in dumps),
                "jobs_running": sum(row["status"] in ("queued", "running") for row in jobs),
            }
    status |= {"store": str(where.store), "log": str(where.log_file)}
    unused = problems(where)
    if unused:
        status["configuration"] = unused
    if args.json:
        terminal.print_json(status)
    else:
        _print(status, terminal, stale=engine_file.read(where.engine_file) is not None)
    return SUCCESS if record is not None else NO_ENGINE


def _print(status: dict[str, Any], terminal: Terminal, *, stale: bool) -> None:
    if not status.pop("running"):
        why = (
            "the one in engine.json has stopped; start one with sqlrs-engine serve"
            if stale
            else "start one with sqlrs-engine serve"
        )
        terminal.print(f"no engine is running ({why})")
    for warning in status.pop("warnings", ()):
        terminal.print(f"WARNING: {_WARNINGS.get(warning, warning)}")
    for key, value in status.items():
        if key in ("state_bytes", "dump_bytes"):
            value = size(value if isinstance(value, int) else None)
        if isinstance(value, list):
            value = "; ".join(value)
        terminal.print(f"{key.replace('_', ' ')}: {value}")
