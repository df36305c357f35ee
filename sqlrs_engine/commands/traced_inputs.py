"""``prepare --trace-inputs``: the files that a command opened, and inputs that cover them."""

import argparse
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from .terminal import Terminal

if TYPE_CHECKING:
    from sqlrs_engine.client.engine_client import EngineClient


def show(
    engine: "EngineClient", result: dict[str, Any], args: argparse.Namespace, terminal: Terminal
) -> None:
    """Print what the command of a job opened; delete its instance and its state."""
    everything = {"recurse": "true", "force": "true"}
    engine.call("DELETE", f"/states/{result['state_id']}", params=everything)
    traced = result["traced_inputs"]
    missing = [each["path"] for each in traced if not each["declared"]]
    if args.json:
        terminal.print_json({"traced_inputs": traced, "suggested": patterns(missing)})
        return
    rows = [(each["path"], "yes" if each["declared"] else "no") for each in traced]
    terminal.print_table(("FILE", "DECLARED"), rows)
    if missing:
        options = " ".join(f"--input {shlex.quote(pattern)}" for pattern in patterns(missing))
        terminal.report(f"to declare them all: {options}")


def patterns(paths: Sequence[str]) -> list[str]:
    """Return patterns that match files: the file itself, or all below its topmost directory."""
    tops = [PurePosixPath(path).parts[0] for path in paths]
    count = Counter(tops)
    found = {
        f"{top}/**" if count[top] > 1 and top != path else path
        for top, path in zip(tops, paths, strict=True)
    }
    return sorted(found)
