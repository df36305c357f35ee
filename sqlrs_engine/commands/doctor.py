"""``doctor``: check this machine, and advise what to install or correct."""

import argparse
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlrs_engine.errors import DISK_FULL, EngineError, LiquibaseUnavailable
from sqlrs_engine.host.disk_space import exhausted
from sqlrs_engine.host.private_directories import check_owner
from sqlrs_engine.postgres.os_user import MAKE_DEDICATED, OsUser, has_name
from sqlrs_engine.postgres.user_name import user_name

from . import FAILURE, SUCCESS
from .ls import size
from .terminal import Places, Terminal, add_json, add_state_dir, places

if TYPE_CHECKING:
    from sqlrs_engine.config import Config
    from sqlrs_engine.statefs import Backend

Verdict = Literal["ok", "note", "problem"]

_LOW_SPACE = 2 * 1024**3
_MARKS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. ``advice`` is how to improve the result, if it can be improved."""

    subject: str
    verdict: Verdict
    text: str
    advice: str | None = None


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "doctor",
        help="check whether this machine has what the engine needs",
        description=(
            "Check everything that the engine needs, and report what is missing. Changes "
            "nothing. The exit code is 1 if the engine cannot work."
        ),
    )
    add_json(parser)
    add_state_dir(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print the findings; return FAILURE if one of them is a problem."""
    where = places(args.state_dir, terminal.environ)
    search_path = terminal.environ.get("PATH", "")
    findings = list(examine(where, search_path))
    if args.json:
        terminal.print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            terminal.print(f"{_MARKS[finding.verdict]} {finding.subject}: {finding.text}")
            if finding.advice:
                terminal.print(f"{'':8}→ {finding.advice}")
    return FAILURE if any(finding.verdict == "problem" for finding in findings) else SUCCESS


def examine(where: Places, search_path: str) -> Iterator[Finding]:
    """Yield the findings, most important first."""
    checks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("PostgreSQL", lambda: _distributions(where, search_path)),
        ("configuration", lambda: _configuration(where)),
        ("OS user", lambda: _os_user(where)),
        ("store", lambda: _store(where)),
        ("recovery", lambda: _set_aside(where)),
        ("snapshots", lambda: _backend(where)),
        ("free space", lambda: _space(where)),
        ("ports", lambda: _ports(where)),
        ("engine", lambda: _engine(where)),
        ("Java", lambda: _java(search_path)),
        ("Liquibase", lambda: _liquibase(where, search_path)),
    )
    for subject, check in checks:
        try:
            yield check()
        except EngineError as error:
            yield Finding(subject, "problem", error.message, error.details)
        except OSError as error:
            yield Finding(subject, "problem", str(error))


def _distributions(where: Places, search_path: str) -> Finding:
    from sqlrs_engine.engine.offline import distributions

    known = distributions(where.store, search_path, where.builds, where.images)
    found = known.available()
    names = {each.distribution.image_id: each.references for each in known.pulled()}
    if not found:
        return Finding(
            "PostgreSQL", "problem", "no PostgreSQL found", "sqlrs-engine postgres install 17"
        )
    text = ", ".join(
        f"{each.version} ({' '.join([each.origin, *names.get(each.image_id, ())])})"
        for each in found
    )
    return Finding(
        "PostgreSQL",
        "ok",
        text,
        "more: sqlrs-engine postgres install MAJOR, or any image that docker run takes",
    )


def _os_user(where: Places) -> Finding:
    user = _config(where).settle("postgres.osUser", OsUser.for_engine)
    if user is None:
        if has_name(os.geteuid()):
            return Finding("OS user", "ok", "PostgreSQL runs as you")
        with user_name():  # raises with the advice when there is no way
            text = f"the user id {os.geteuid()} has no name here; the engine gives PostgreSQL one"
            return Finding("OS user", "ok", text)
    text = f"the engine runs as root, so PostgreSQL runs as {user.name}"
    if has_name(user.uid):
        return Finding("OS user", "ok", text)
    advice = f"a dedicated user is easier to recognise: {MAKE_DEDICATED}"
    return Finding("OS user", "ok", f"{text}, which no other user has", advice)


def _config(where: Places) -> "Config":
    from sqlrs_engine.engine.offline import configuration

    return configuration(where.store)


def problems(where: Places) -> list[str]:
    """Return the settings that an engine would ignore, each with the reason."""
    config = _config(where)
    config.settle("postgres.osUser", OsUser.for_engine)
    config.settle("snapshot.backend", partial(_chosen, where))
    return [str(problem) for problem in config.problems]


def _configuration(where: Places) -> Finding:
    unused = problems(where)
    if unused:
        text = "; ".join(unused)
        advice = (
            "correct it with `sqlrs-engine config set` or `sqlrs-engine config rm`, or in "
            f"{where.store / 'config.json'}"
        )
        return Finding("configuration", "note", text, advice)
    return Finding("configuration", "ok", "all values are usable")


def _chosen(where: Places, wanted: str) -> "Backend":
    from sqlrs_engine.statefs.probe import choose_backend

    return choose_backend(existing(where.store), wanted)


def _store(where: Places) -> Finding:
    nearest = existing(where.store)
    if not os.access(nearest, os.W_OK | os.X_OK):
        advice = "choose another place with --state-dir or SQLRS_STATE_STORE"
        return Finding("store", "problem", f"{nearest} is not writable", advice)
    for place, what in ((where.store, "the state store"), (where.state_dir, "the state directory")):
        if place.exists():
            check_owner(place, what)
    return Finding("store", "ok", str(where.store))


def _set_aside(where: Places) -> Finding:
    from sqlrs_engine.statefs.layout import Layout
    from sqlrs_engine.statefs.quarantine import Quarantine

    aside = Quarantine(Layout(where.store))
    there = {
        str(aside.root): sum(1 for _ in aside.containers()),
        str(where.store / "state.db.damaged-*"): len([*where.store.glob("state.db.damaged-*Z")]),
    }
    texts = [f"{count} in {place}" for place, count in there.items() if count]
    if not texts:
        return Finding("recovery", "ok", "nothing is set aside")
    advice = "docs/recovery.md explains what it is, and how to recover or delete it"
    return Finding("recovery", "note", f"set aside: {', '.join(texts)}", advice)


def _backend(where: Places) -> Finding:
    backend = _config(where).settle("snapshot.backend", partial(_chosen, where))
    if backend.copy_on_write:
        return Finding("snapshots", "ok", f"{backend.name}: clones share their blocks")
    return Finding(
        "snapshots",
        "note",
        f"{backend.name}: a clone is a full copy",
        "clones on btrfs or XFS take milliseconds: sqlrs-engine store create --help",
    )


def _space(where: Places) -> Finding:
    usage = shutil.disk_usage(existing(where.store))
    text = f"{size(usage.free)} of {size(usage.total)}"
    if exhausted(existing(where.store)):
        return Finding("free space", "problem", text, DISK_FULL)
    if usage.free < _LOW_SPACE:
        return Finding(
            "free space", "problem", text, "free some space: every instance needs at least 30 MiB"
        )
    return Finding("free space", "ok", text)


def _ports(where: Places) -> Finding:
    from sqlrs_engine.engine.offline import configured

    first = int(configured(where.store, "instances.ports.first"))
    last = int(configured(where.store, "instances.ports.last"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
    return Finding("ports", "ok", f"instances listen on 127.0.0.1, ports {first} to {last}")


def _engine(where: Places) -> Finding:
    from sqlrs_engine.client.engine_client import find

    record = find(where.engine_file)
    if record is None:
        return Finding("engine", "note", "not running", "the first prepare starts it")
    return Finding("engine", "ok", f"{record.endpoint}, pid {record.pid}, log {where.log_file}")


def _java(search_path: str) -> Finding:
    from sqlrs_engine.prepare.liquibase.installation import find_java

    try:
        return Finding("Java", "ok", str(find_java(_environment(search_path))))
    except LiquibaseUnavailable as error:
        return Finding("Java", "note", f"{error.message} (only changelogs need it)", error.details)


def _liquibase(where: Places, search_path: str) -> Finding:
    from sqlrs_engine.engine.offline import configured
    from sqlrs_engine.prepare.liquibase.installation import find

    try:
        found = find(None, configured(where.store, "liquibase.exec"), _environment(search_path))
    except LiquibaseUnavailable as error:
        return Finding(
            "Liquibase", "note", f"{error.message} (only changelogs need it)", error.details
        )
    return Finding("Liquibase", "ok", str(found.home))


def _environment(search_path: str) -> dict[str, str]:
    """Return the environment in which to look for Java and Liquibase."""
    given = {n: os.environ[n] for n in ("JAVA_HOME", "LIQUIBASE_HOME") if n in os.environ}
    return {"PATH": search_path, **given}


def existing(path: Path) -> Path:
    """Return the nearest ancestor of ``path``, itself included, that exists."""
    return next(place for place in (path, *path.parents) if place.exists())
