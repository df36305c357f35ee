"""``rm``: remove instances, states, dumps and jobs, by name, id or a prefix of an id."""

import argparse
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlrs_engine.errors import Conflict, EngineError, InvalidArgument, Unavailable
from sqlrs_engine.ids import MIN_PREFIX_LENGTH

from . import BLOCKED, FAILURE, SUCCESS
from .terminal import Terminal, add_json, add_state_dir, places, short

if TYPE_CHECKING:
    from sqlrs_engine.client.engine_client import EngineClient

_HEX = re.compile(r"[0-9a-fA-F]+")
_PATHS = {
    "instance": "/instances",
    "state": "/states",
    "dump": "/dumps",
    "job": "/prepare-jobs",
}


@dataclass(frozen=True, slots=True)
class Target:
    """The object that a reference names; ``name`` is set if the reference is a name."""

    kind: str
    id: str | None
    name: str | None = None


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "rm",
        help="remove instances, states, dumps and jobs",
        description=(
            "Remove instances, states, dumps and jobs by name, id or id prefix (8 digits or\n"
            "more). An object is not removed if anything that depends on it is in use."
        ),
        epilog="examples:\n"
        "  sqlrs-engine rm dev\n"
        "  sqlrs-engine rm 4f9c01d2aa\n"
        "  sqlrs-engine rm --recurse --dry-run STATE",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("references", nargs="+", metavar="ID_OR_NAME", help="what to remove")
    parser.add_argument(
        "--recurse", action="store_true", help="also remove everything that depends on a state"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="remove instances with open connections and running jobs",
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would be removed")
    add_json(parser)
    add_state_dir(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Remove each reference, even if the removal of another one fails.

    The exit code is FAILURE when one of them failed, else BLOCKED when one was blocked.
    """
    from sqlrs_engine.client.engine_client import connect

    blocked = failed = False
    results = []
    with connect(places(args.state_dir, terminal.environ).engine_file) as engine:
        # All references are resolved first, so that a mistyped one removes nothing.
        targets = [(reference, _resolve(engine, reference)) for reference in args.references]
        for reference, target in targets:
            if target is None:
                terminal.report(
                    f"warning: nothing matches {reference}; sqlrs-engine ls lists what exists"
                )
                continue
            try:
                result = _remove(engine, target, args)
            except Unavailable:
                raise  # the others would fare no better
            except EngineError as error:
                terminal.report(f"{reference}: {error}")
                failed = True
                continue
            results.append(result)
            if not args.json:
                terminal.print(*_tree(result["root"], result["outcome"]))
            if result["outcome"] == "blocked":
                blocked = True
    if args.json:
        terminal.print_json(results)
    if blocked:
        terminal.report("blocked: objects marked kept were not removed; see sqlrs-engine rm --help")
    if failed:
        return FAILURE
    return BLOCKED if blocked else SUCCESS


def _resolve(engine: "EngineClient", reference: str) -> Target | None:
    """Return the object that the reference names. Raises InvalidArgument if it is ambiguous."""
    found = [
        Target("instance" if row.get("instance_id") else "name", row.get("instance_id"), reference)
        for row in engine.get("/names") or []
        if row["name"] == reference
    ]
    if len(reference) >= MIN_PREFIX_LENGTH and _HEX.fullmatch(reference):
        for kind, path in _PATHS.items():
            prefix = {"job": reference.lower()} if kind == "job" else {"id_prefix": reference}
            found += [Target(kind, row[f"{kind}_id"]) for row in engine.get(path, **prefix) or []]
    if len(found) > 1:
        matches = ", ".join(f"{target.kind} {short(target.id or target.name)}" for target in found)
        raise InvalidArgument(
            f"{reference} is ambiguous: give more digits", f"it matches {matches}"
        )
    return found[0] if found else None


def _remove(engine: "EngineClient", target: Target, args: argparse.Namespace) -> dict[str, Any]:
    """Remove the target and the name that refers to it; return the result of the deletion."""
    result: dict[str, Any] | None = None
    if target.id is not None:
        result = engine.call(
            "DELETE",
            f"{_PATHS[target.kind]}/{target.id}",
            params={
                "force": args.force,
                "dry_run": args.dry_run,
                "recurse": args.recurse and target.kind == "state",
            },
            accept=(404, 409),
        )
        if result is None or "outcome" not in result:
            # A name may outlive its instance: then the name is all there is to remove.
            if not target.name:
                envelope = result or {}
                raise Conflict(envelope.get("message", "refused"), envelope.get("details"))
            result = None
    if result is None:
        outcome = "would_delete" if args.dry_run else "deleted"
        result = {
            "dry_run": args.dry_run,
            "outcome": outcome,
            "root": {"kind": "name", "id": target.name},
        }
    if target.name and result["outcome"] == "deleted":
        engine.call("DELETE", f"/names/{quote(target.name, safe='')}", accept=(404,))
    return result


def _tree(node: dict[str, Any], outcome: str, depth: int = 0) -> list[str]:
    """Return the lines of a deletion tree: what was removed, or what blocks the removal."""
    word = {"deleted": "deleted", "would_delete": "would be deleted"}.get(outcome, "kept")
    connections = f", {node['connections']} connections" if node.get("connections") else ""
    blocked = f" ({node['blocked']}{connections})" if node.get("blocked") else ""
    name = node["id"] if node["kind"] == "name" else short(node["id"])
    lines = [f"{'  ' * depth}{node['kind']} {name} {word}{blocked}"]
    for child in node.get("children") or []:
        lines += _tree(child, outcome, depth + 1)
    return lines
