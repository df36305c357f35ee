"""``stop``: stop the running engine; its instances keep running."""

import argparse
import os
import select
import signal

from sqlrs_engine.errors import Unavailable

from . import SUCCESS
from .terminal import Terminal, add_state_dir, places

_PATIENCE_SECONDS = 30


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "stop",
        help="stop the running engine",
        description=(
            "Stop the running engine. Instances keep running, and jobs resume at the next start."
        ),
    )
    add_state_dir(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Send SIGTERM to the running engine, and wait until its process has ended."""
    from sqlrs_engine.client.engine_client import find

    record = find(places(args.state_dir, terminal.environ).engine_file)
    if record is None:
        terminal.print("no engine is running")
        return SUCCESS
    try:
        process = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return SUCCESS
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        readable, _, _ = select.select([process], [], [], _PATIENCE_SECONDS)
    finally:
        os.close(process)
    if not readable:
        raise Unavailable(
            "the engine has not stopped: wait, or end its process",
            f"pid {record.pid} still runs after {_PATIENCE_SECONDS} s; `kill -9 {record.pid}` "
            "ends it and loses nothing",
        )
    terminal.print(f"stopped the engine (pid {record.pid})")
    return SUCCESS
