"""``prepare``: make a database from SQL and print its DSN."""

import argparse
import base64
import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlrs_engine import durations

from . import FAILURE, INTERRUPTED, SUCCESS
from .extension_offer import accepted
from .progress import Progress, progress_on
from .terminal import Terminal, add_json, add_state_dir, places, short

if TYPE_CHECKING:
    from sqlrs_engine.client.engine_client import EngineClient
    from sqlrs_engine.prepare.psql.options import Option

DEFAULT_IMAGE = "postgres:18"
IDLE_SECONDS = 120.0
_STDIN = "-"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "prepare",
        help="make a database from SQL scripts and print its DSN",
        description=(
            "Run the -f and -c inputs of psql, or the changesets of a Liquibase changelog, and\n"
            "print the DSN of a fresh database with the result. Each input is cached as a\n"
            "state, so the second time is instant."
        ),
        epilog="examples:\n"
        "  sqlrs-engine prepare -- -f schema.sql -f data.sql\n"
        "  sqlrs-engine prepare --image postgres:17 --name dev -- -f schema.sql\n"
        "  sqlrs-engine prepare --image postgis/postgis:17-3.5 -- -f schema.sql\n"
        "  sqlrs-engine exec dev -- psql                     open psql on it\n"
        "  pg_dump … | sqlrs-engine prepare --name copy -- -f -\n"
        "  sqlrs-engine prepare --plan -- -f schema.sql      show what is cached\n"
        "  sqlrs-engine prepare --liquibase -- update --changelog-file changelog.xml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--image",
        default=DEFAULT_IMAGE,
        help="PostgreSQL to use: a version, or any image that docker run takes "
        f"(default: {DEFAULT_IMAGE})",
    )
    parser.add_argument("--name", help="bind this name to the instance")
    parser.add_argument(
        "--ttl", metavar="DURATION", help="time to live after the last use; 0 means forever"
    )
    parser.add_argument(
        "--plan",
        action="store_true",
        help="only show the steps and whether their states are cached",
    )
    parser.add_argument("--no-start", action="store_true", help="fail if no engine is running")
    parser.add_argument(
        "--verbose", "-V", action="store_true", help="show the output of psql or Liquibase"
    )
    parser.add_argument(
        "--liquibase",
        action="store_true",
        help="the arguments are those of Liquibase; each changeset becomes a state",
    )
    add_json(parser)
    add_state_dir(parser)
    parser.usage = "%(prog)s [options] -- ARGUMENT…"
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Prepare with the arguments after ``--`` (``args.rest``); print the DSN or the plan."""
    from sqlrs_engine.client.engine_client import connect, connect_or_start
    from sqlrs_engine.registry import check_name

    # Checked first: an error is of little use when the work is done.
    ttl = None if args.ttl is None else durations.format(durations.parse(args.ttl))
    if args.name:
        check_name(args.name)
    body = {
        "image_id": args.image,
        "work_dir": str(terminal.cwd),
        "plan_only": args.plan,
        **(
            _liquibase(args.rest, terminal) if args.liquibase else psql_request(args.rest, terminal)
        ),
    }
    where = places(args.state_dir, terminal.environ)
    if args.no_start:
        engine = connect(where.engine_file)
    else:
        engine = connect_or_start(
            where.engine_file, where.store, idle_timeout=IDLE_SECONDS, environ=terminal.environ
        )
    with engine:
        job, interrupted = _prepare(engine, body, args, terminal)
        offered: set[str] = set()
        while facts := _lacking(job, offered, args):
            offered.add(facts["extension"])
            image = accepted(facts, body["image_id"], where, terminal)
            if image is None:
                break
            body["image_id"] = image
            job, interrupted = _prepare(engine, body, args, terminal)
        if job["status"] != "succeeded":
            _explain(job, args, terminal)
            return INTERRUPTED if interrupted else FAILURE
        if args.plan:
            _print_plan(job, args, terminal)
        else:
            instance = job["result"]["instance_id"]
            if args.name:
                path = f"/names/{quote(args.name, safe='')}"
                engine.call("PUT", path, body={"instance_id": instance})
            if ttl is not None:
                engine.call("PATCH", f"/instances/{instance}", body={"ttl": ttl})
            if args.json:
                terminal.print_json({"job_id": job["job_id"], **job["result"]})
            else:
                terminal.print(job["result"]["dsn"])
    return SUCCESS


def _prepare(
    engine: "EngineClient", body: dict[str, Any], args: argparse.Namespace, terminal: Terminal
) -> tuple[dict[str, Any], bool]:
    """Run a job and show its progress; return it, and whether Ctrl-C was pressed."""
    job_id: str = engine.call("POST", "/prepare-jobs", body=body)["job_id"]
    with progress_on(terminal, verbose=args.verbose) as progress:
        interrupted = _watch(engine, job_id, progress)
    job: dict[str, Any] = engine.get(f"/prepare-jobs/{job_id}")
    return job, interrupted


def _lacking(
    job: dict[str, Any], offered: Collection[str], args: argparse.Namespace
) -> dict[str, Any] | None:
    """Return the facts of an extension that the job lacked and that was not offered yet."""
    facts: dict[str, Any] = (job.get("error") or {}).get("facts") or {}
    wanted = job["status"] == "failed" and not args.json and "extension" in facts
    return facts if wanted and facts["extension"] not in offered else None


def psql_request(psql_args: Sequence[str], terminal: Terminal) -> dict[str, Any]:
    """Return the fields of a request for psql scripts: absolute paths and standard input.

    Without an input, standard input is the script, as it is for psql, unless it is a terminal.
    Raises InvalidArgument for arguments that psql does not have or that are not allowed.
    """
    from sqlrs_engine.prepare.psql.options import parse

    options = [_absolute(option, terminal.cwd) for option in parse(psql_args)]
    arguments = [argument for option in options for argument in option.arguments()]
    reads_stdin = any(option.letter == "f" and option.value == _STDIN for option in options)
    fields: dict[str, Any] = {"prepare_kind": "psql", "psql_args": arguments}
    if reads_stdin:
        fields |= _stdin_fields(terminal.read())
    elif not terminal.stdin.isatty() and not any(option.letter in "fc" for option in options):
        script = terminal.read()
        if script:
            fields |= {"psql_args": [*arguments, "-f", _STDIN], **_stdin_fields(script)}
    return fields


def _absolute(option: "Option", cwd: Path) -> "Option":
    """Return an option with the absolute path of its file: the engine may run elsewhere."""
    if option.letter != "f" or option.value in (None, "", _STDIN):
        return option
    return replace(option, value=str(cwd / (option.value or "")))


def _stdin_fields(script: bytes) -> dict[str, str]:
    """Return the fields for standard input, which reaches psql byte for byte."""
    try:
        return {"stdin": script.decode()}
    except UnicodeDecodeError:
        return {"stdin_base64": base64.b64encode(script).decode()}


def _liquibase(rest: Sequence[str], terminal: Terminal) -> dict[str, Any]:
    """Return the fields of a request for a changelog, with the client's Liquibase and Java."""
    fields: dict[str, Any] = {"prepare_kind": "lb", "liquibase_args": list(rest)}
    found = shutil.which("liquibase", path=terminal.environ.get("PATH", os.defpath))
    if found is not None:
        fields["liquibase_exec"] = str(Path(found).absolute())
    if terminal.environ.get("JAVA_HOME"):
        fields["liquibase_env"] = {"JAVA_HOME": terminal.environ["JAVA_HOME"]}
    return fields


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


def _explain(job: dict[str, Any], args: argparse.Namespace, terminal: Terminal) -> None:
    """Print why there is no result."""
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


def _print_plan(job: dict[str, Any], args: argparse.Namespace, terminal: Terminal) -> None:
    tasks = job.get("tasks") or []
    if args.json:
        terminal.print_json({"job_id": job["job_id"], "tasks": tasks})
        return
    rows = [
        (task["task_id"], short(task["output_state_id"]), "yes" if task.get("cached") else "no")
        for task in tasks
        if task["type"] == "state_execute"
    ]
    terminal.print_table(("STEP", "STATE", "CACHED"), rows)
