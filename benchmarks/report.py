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


def ratio(timing: Timing, rivals: dict[str, Timing]) -> str:
    """Say how the rival's median compares: ``2.0x`` means the rival takes twice as long."""
    if timing.rival is None or timing.rival not in rivals:
        return ""
    return f"{rivals[timing.rival].p50 / timing.p50:.1f}x {timing.rival}"


def show(timings: Sequence[Timing], about: dict[str, Any], console: Console | None = None) -> None:
    """Print the table."""
    rivals = {timing.work: timing for timing in timings if timing.where == "rival"}
    table = Table("work", "where", "runs", "p50", "p99", "target", "unit", "", "rival / engine")
    for column in table.columns[2:6]:
        column.justify = "right"
    for timing in timings:
        verdict = {True: "met", False: "MISSED", None: ""}[timing.met]
        table.add_row(
            timing.work,
            timing.where,
            str(len(timing.samples)),
            f"{timing.p50:.1f}",
            f"{timing.p99:.1f}",
            f"{timing.target:.0f}" if timing.target else "",
            timing.unit,
            verdict,
            ratio(timing, rivals),
        )
    # Where nobody watches, wide enough for the table to stay in lines.
    console = console or Console(width=None if sys.stdout.isatty() else 150)
    console.print(table)
    for key, value in about.items():
        console.print(f"{key}: {value}", highlight=False)


def write(path: Path, timings: Sequence[Timing], about: dict[str, Any]) -> None:
    """Write every figure and sample as JSON."""
    report = {"machine": about, "timings": [timing.as_dict() for timing in timings]}
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
