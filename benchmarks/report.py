"""The results as a table for people and as JSON for machines."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from .measure import Timing


def machine() -> dict[str, Any]:
    """Describe where the figures were measured."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def filesystem(path: Path) -> str:
    """Return the type of the filesystem that holds ``path``, such as ``ext4``."""
    mounts = sorted(psutil.disk_partitions(all=True), key=lambda mount: len(mount.mountpoint))
    holding = [m.fstype for m in mounts if path.resolve().is_relative_to(m.mountpoint)]
    return holding[-1] if holding else "unknown"


def compare(timing: Timing, timings: Sequence[Timing]) -> str:
    """Say how many times better than each rival's this median is: above 1, ours is."""
    if timing.is_rival or timing.task is None:
        return ""
    rivals = [
        each
        for each in timings
        if each.is_rival and (each.task, each.database) == (timing.task, timing.database)
    ]
    return "\n".join(f"{timing.advantage(each):.2g}x {each.work}" for each in rivals)


def show(timings: Sequence[Timing], about: dict[str, Any], console: Console | None = None) -> None:
    """Print the table, then every promise with its verdict, then the machine."""
    table = Table("work", "where", "database", "runs", "p50", "p99", "target", "unit", "", "rivals")
    for column in table.columns[3:7]:
        column.justify = "right"
    for timing in timings:
        table.add_row(
            timing.work,
            timing.where,
            timing.database,
            str(len(timing.samples)),
            figure(timing.p50),
            figure(timing.p99),
            "" if timing.target is None else figure(timing.target),
            timing.unit,
            {True: "met", False: "MISSED", None: ""}[timing.met],
            compare(timing, timings),
        )
    # Where nobody watches, wide enough for the table to stay in lines.
    console = console or Console(width=None if sys.stdout.isatty() else 190)
    console.print(table)
    for key, value in about.items():
        console.print(f"{key}: {value}", highlight=False)


def figure(number: float) -> str:
    """Return a number with the digits that mean something."""
    return f"{number:,.0f}" if number >= 1000 else f"{number:.1f}"


def write(path: Path, timings: Sequence[Timing], about: dict[str, Any]) -> None:
    """Write every figure and sample as JSON."""
    report = {"machine": about, "timings": [timing.as_dict() for timing in timings]}
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
