"""``config``: show and change the engine's settings."""

import argparse
import json
from typing import TYPE_CHECKING, Any, NoReturn

from . import SUCCESS
from .preparation import IDLE_SECONDS
from .terminal import Terminal, add_state_dir, places

if TYPE_CHECKING:
    from sqlrs_engine.client.engine_client import EngineClient

_EXAMPLES = """\
examples:
  sqlrs-engine config get                              the settings that differ from the defaults
  sqlrs-engine config get instances.ttl --effective
  sqlrs-engine config set instances.ttl 8h
  sqlrs-engine config set postgres.roles '["app", "web_anon"]'
  sqlrs-engine config rm postgres.roles

docs/configuration.md describes the settings.
"""

_PATH_HELP = "a setting, such as instances.ttl"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "config",
        help="show and change settings",
        description="Show and change the engine's settings. Starts the engine if none is running.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    show = actions.add_parser("get", help="print settings as JSON")
    show.add_argument("path", nargs="?", metavar="PATH", help=f"{_PATH_HELP}; default: all")
    show.add_argument(
        "--effective", action="store_true", help="include defaults, where nothing else is set"
    )
    change = actions.add_parser("set", help="change a setting")
    change.add_argument("path", metavar="PATH", help=_PATH_HELP)
    change.add_argument("value", metavar="VALUE", help="JSON; anything else is text")
    restore = actions.add_parser("rm", help="restore the default of a setting")
    restore.add_argument("path", metavar="PATH", help=_PATH_HELP)
    for action, run in ((show, run_get), (change, run_set), (restore, run_rm)):
        add_state_dir(action)
        action.set_defaults(run=run)


def run_get(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print all settings, or the value at a path."""
    with _engine(args, terminal) as engine:
        wanted = {"path": args.path, "effective": args.effective}
        answer = engine.call("GET", "/config", params=wanted)
    terminal.print_json(answer if args.path is None else answer["value"])
    return SUCCESS


def run_set(args: argparse.Namespace, terminal: Terminal) -> int:
    """Change a setting and print its new value."""
    body = {"path": args.path, "value": _value(args.value)}
    with _engine(args, terminal) as engine:
        _print(engine.call("PATCH", "/config", body=body), terminal)
    return SUCCESS


def run_rm(args: argparse.Namespace, terminal: Terminal) -> int:
    """Restore the default of a setting and print it."""
    with _engine(args, terminal) as engine:
        _print(engine.call("DELETE", "/config", params={"path": args.path}), terminal)
    return SUCCESS


def _engine(args: argparse.Namespace, terminal: Terminal) -> "EngineClient":
    from sqlrs_engine.client.engine_client import connect_or_start

    where = places(args.state_dir, terminal.environ)
    return connect_or_start(
        where.engine_file, where.store, idle_timeout=IDLE_SECONDS, environ=terminal.environ
    )


def _value(text: str) -> Any:
    """Return the value that a word means: JSON, or else the text itself."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text


def _refuse(constant: str) -> NoReturn:
    """Refuse what only Python takes for JSON: NaN and the infinities."""
    raise ValueError(constant)


def _print(setting: dict[str, Any], terminal: Terminal) -> None:
    terminal.print(f"{setting['path']} = {json.dumps(setting['value'], ensure_ascii=False)}")
    if setting.get("restart_required"):
        terminal.report("takes effect when the engine next starts: sqlrs-engine stop")
