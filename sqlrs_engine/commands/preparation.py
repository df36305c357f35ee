"""A prepare as people see it: its progress, its plan and the reason for its failure."""

import argparse
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlrs_engine import durations

from . import FAILURE, INTERRUPTED
from .progress import Progress, progress_on
from .terminal import Terminal, add_json, add_state_dir, clip, places, short

if TYPE_CHECKING:
    from sqlrs_engine.client.engine_client import EngineClient

IDLE_SECONDS = 120.0

_INPUT = 200  # characters of a step's input


@dataclass(frozen=True, slots=True)
class Outcome:
    """A job that has ended, or whose engine has, and whether Ctrl-C was pressed."""

    job: dict[str, Any]
    interrupted: bool

    @property
    def succeeded(self) -> bool:
        """Whether the job has a result, or a plan."""
        return bool(self.job["status"] == "succeeded")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that prepares."""
    parser.add_argument(
        "--verbose", "-V", action="store_true", help="show the output of the programs that run"
    )
    add_engine_options(parser)


def add_instance_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the instance that is made: its name and its time to live."""
    parser.add_argument("--name", help="bind this name to the instance")
    parser.add_argument(
        "--ttl", metavar="DURATION", help="time to live after the last use; 0 means forever"
    )


def checked_ttl(args: argparse.Namespace) -> str | None:
    """Return ``--ttl`` as the API takes it, None without one; check ``--name``, too.

    Call it first: an error is of little use when the work is done. Raises InvalidArgument.
    """
    from sqlrs_engine.registry import check_name

    if args.name:
        check_name(args.name)
    return None if args.ttl is None else durations.format(durations.parse(args.ttl))


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that asks about a prepare."""
    parser.add_argument("--no-start", action="store_true", help="fail if no engine is running")
    add_json(parser)
    add_state_dir(parser)


def engine_for(args: argparse.Namespace, terminal: Terminal) -> "EngineClient":
    """Return a client of the engine, which starts if none is running and ``--no-start`` permits it.

    Raises Unavailable.
    """
    from sqlrs_engine.client.engine_client import connect, connect_or_start

    where = places(args.state_dir, terminal.environ)
    if args.no_start:
        return connect(where.engine_file)
    return connect_or_start(
        where.engine_file, where.store, idle_timeout=IDLE_SECONDS, environ=terminal.environ
    )


def prepare(
    engine: "EngineClient", body: dict[str, Any], args: argparse.Namespace, terminal: Terminal
) -> Outcome:
    """Run a job for a request and show its progress until it ends."""
    job_id: str = engine.call("POST", "/prepare-jobs", body=body)["job_id"]
    with progress_on(terminal, verbose=args.verbose) as progress:
        interrupted = _watch(engine, job_id, progress)
    return Outcome(engine.get(f"/prepare-jobs/{job_id}"), interrupted)


def bind(engine: "EngineClient", instance_id: str, name: str | None, ttl: str | None) -> None:
    """Give an instance its name and its time to live; None leaves either as it is."""
    if name:
        path = f"/names/{quote(name, safe='')}"
        engine.call("PUT", path, body={"instance_id": instance_id})
    if ttl is not None:
        engine.call("PATCH", f"/instances/{instance_id}", body={"ttl": ttl})


def report_failure(outcome: Outcome, args: argparse.Namespace, terminal: Terminal) -> int:
    """Print why there is no result; return the exit code."""
    job = outcome.job
    error = job.get("error") or {}
    if args.json:
        terminal.print_json({"job_id": job["job_id"], "status": job["status"], "error": error})
    elif job["status"] == "failed":
        terminal.report(f"prepare failed: {error.get('message', 'no reason given')}")
        if error.get("details"):
            terminal.report(str(error["details"]))
    else:
        terminal.report(
            f"the engine stopped while job {short(job['job_id'])} was {job['status']}; start "
            "the engine again, and the job resumes"
        )
    return INTERRUPTED if outcome.interrupted else FAILURE


def print_plan(
    engine: "EngineClient", outcome: Outcome, args: argparse.Namespace, terminal: Terminal
) -> None:
    """Print the steps of a plan with their states, and whether these are cached."""
    job_id = outcome.job["job_id"]
    tasks = engine.get("/tasks", job=job_id)
    if args.json:
        terminal.print_json({"job_id": job_id, "tasks": tasks})
        return
    rows = [
        (
            task["task_id"],
            short(task["output_state_id"]),
            "yes" if task.get("cached") else "no",
            clip(task.get("args_summary"), _INPUT),
        )
        for task in tasks
        if task["type"] == "state_execute"
    ]
    terminal.print_table(("STEP", "STATE", "CACHED", "INPUT"), rows)


def _watch(engine: "EngineClient", job_id: str, progress: Progress) -> bool:
    """Follow the job to its end, cancelling it on Ctrl-C; return whether Ctrl-C was pressed."""
    interrupted = False
    seen = 0
    while True:
        try:
            for event in islice(engine.events(job_id), seen, None):
                seen += 1
                progress.show(event)
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            progress.note("cancelling the job (press Ctrl-C again to stop waiting)")
            engine.call("POST", f"/prepare-jobs/{job_id}/cancel")
            continue
        return interrupted
