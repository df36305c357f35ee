"""The fields of a prepare request, from the arguments of psql, Liquibase, pg_restore or others."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.ids import is_state_id
from sqlrs_engine.project import environment

from .terminal import Terminal


def psql_request(psql_args: Sequence[str], terminal: Terminal) -> dict[str, Any]:
    """Return the fields of a request for psql scripts: absolute paths and standard input.

    Without an input, standard input is the script, as it is for psql, unless it is a terminal.
    Raises InvalidArgument for arguments that psql does not have or that are not allowed.
    """
    from sqlrs_engine.prepare.psql.options import STDIN, parse
    from sqlrs_engine.prepare.stdin import from_bytes, to_json

    options = [option.below(terminal.cwd) for option in parse(psql_args)]
    arguments = [argument for option in options for argument in option.arguments()]
    reads_stdin = any(option.letter == "f" and option.value == STDIN for option in options)
    fields: dict[str, Any] = {"prepare_kind": "psql", "psql_args": arguments}
    if reads_stdin:
        fields |= to_json(from_bytes(terminal.read()))
    elif not terminal.stdin.isatty() and not any(option.letter in "fc" for option in options):
        script = terminal.read()
        if script:
            fields |= {"psql_args": [*arguments, "-f", STDIN], **to_json(from_bytes(script))}
    return fields


def liquibase_request(rest: Sequence[str], terminal: Terminal) -> dict[str, Any]:
    """Return the fields of a request for a changelog, with the client's Liquibase and Java."""
    return {
        "prepare_kind": "lb",
        "liquibase_args": list(rest),
        **environment.of_liquibase(terminal.environ),
    }


def dump_request(
    path: str, restore_args: Sequence[str], terminal: Terminal, *, create_roles: bool
) -> dict[str, Any]:
    """Return the fields of a request for a dump: a file, or one that the state store keeps."""
    stage = {
        "kind": "dump",
        **_dump(path, terminal),
        "restore_args": list(restore_args),
        "create_roles": create_roles,
    }
    return {"prepare_kind": "chain", "stages": [stage]}


def command_request(
    argv: Sequence[str],
    terminal: Terminal,
    *,
    inputs: Sequence[str],
    env: Sequence[str],
    version_command: str | None,
    work_dir: str | None,
    trace_inputs: bool = False,
) -> dict[str, Any]:
    """Return the fields of a request for a command, with the client's PATH and the like.

    ``env`` are variables as ``NAME=VALUE``, or as ``NAME`` for the client's value. The words of
    ``version_command`` are split as a shell splits them. Raises InvalidArgument.
    """
    from sqlrs_engine.prepare.command.environment import base_environment

    if not argv:
        raise InvalidArgument("the command is missing: write it after --")
    stage = {
        "kind": "command",
        "argv": list(argv),
        "inputs": list(inputs),
        "env": dict(_variable(each, terminal.environ) for each in env),
        "base_env": base_environment(terminal.environ),
        "work_dir": str(terminal.cwd / (work_dir or "")),
        "version_command": _words(version_command or ""),
        **({"trace_inputs": True} if trace_inputs else {}),
    }
    return {"prepare_kind": "chain", "stages": [stage]}


def _variable(text: str, environ: Mapping[str, str]) -> tuple[str, str]:
    name, given, value = text.partition("=")
    if given:
        return name, value
    if name not in environ:
        raise InvalidArgument(f"--env {name}: your environment has no such variable: add =VALUE")
    return name, environ[name]


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise InvalidArgument(
            "--version-command is not a command line: correct its quotes", str(error)
        ) from error


def _dump(text: str, terminal: Terminal) -> dict[str, str]:
    path = terminal.cwd / text
    return {"dump_id": text} if is_state_id(text) and not path.exists() else {"path": str(path)}
