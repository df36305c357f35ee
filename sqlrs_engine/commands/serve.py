"""``serve``: run the engine in the foreground, for people and service managers."""

import argparse
from pathlib import Path

from sqlrs_engine import durations

from . import SUCCESS
from .terminal import Terminal, add_state_dir, places


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "serve",
        help="run the engine in the foreground",
        description=(
            "Run the engine in the foreground until Ctrl-C. Instances keep running when it stops."
        ),
        epilog="example:  sqlrs-engine serve --listen 127.0.0.1:7333",
    )
    parser.add_argument(
        "--listen",
        default="127.0.0.1:0",
        metavar="HOST:PORT",
        help="address to listen on (default: a free local port)",
    )
    parser.add_argument(
        "--idle-timeout",
        default="0",
        metavar="DURATION",
        help="stop after this time without requests and jobs (default: never)",
    )
    add_state_dir(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the engine; return when it has stopped."""
    from sqlrs_engine import __version__
    from sqlrs_engine.engine.options import EngineOptions
    from sqlrs_engine.engine.process import run_engine

    where = places(args.state_dir, terminal.environ)

    def announce(endpoint: str, engine_file: Path) -> None:
        terminal.print(f"endpoint: http://{endpoint}", f"engine file: {engine_file}")

    run_engine(
        EngineOptions(
            listen=args.listen,
            engine_file=where.engine_file,
            store_root=where.store,
            idle_timeout=durations.parse(args.idle_timeout),
            version=__version__,
            search_path=terminal.environ.get("PATH", ""),
            builds=where.builds,
            images=where.images,
        ),
        announce,
    )
    return SUCCESS
